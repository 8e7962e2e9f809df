"""An htpasswd file with bcrypt hashes (`htpasswd -B`), read again when it changes."""

import logging
import os
from pathlib import Path

from layerkit.document.problem import DocumentError, Position, Problem
from registry.auth.password import is_bcrypt
from registry.policy.access import ANONYMOUS, SIGNED_IN

logger = logging.getLogger(__name__)

_FIX = "write the entry with `htpasswd -B`"


def parse_htpasswd(text: str, file: str) -> dict[str, str]:
    """Hashes by user. Raises DocumentError with every line that is wrong."""
    users: dict[str, str] = {}
    problems = []
    for number, line in enumerate(text.split("\n"), 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        name, colon, stored = entry.partition(":")
        if not colon or not name:
            problem = "expected USER:HASH", _FIX
        elif name in {ANONYMOUS, SIGNED_IN}:
            problem = f"no user can be called {name!r}", "rules use this word for others"
        elif name in users:
            problem = f"user {name!r} is here twice", "remove one of the lines"
        elif not is_bcrypt(stored):
            problem = f"the password of {name!r} is no bcrypt hash of 4 to 16 rounds", _FIX
        else:
            users[name] = stored
            continue
        # Without the line itself: an error goes into logs, where no hash belongs.
        problems.append(Problem(Position(file, number, 1), *problem[:1], hint=problem[1]))
    if problems:
        raise DocumentError(problems)
    return users


class HtpasswdFile:
    """The users of the file at `path`. Raises DocumentError where that cannot be read at first; a file that is spoilt
    later is logged, and the users stay who they were."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._users = self._read()
        self._seen = self._look()

    def find_password(self, name: str) -> str | None:
        """The hash of the password of `name`."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                self._users = self._read()
                logger.info("%s has changed: it has %d users", self._path, len(self._users))
            except DocumentError as error:
                logger.error("%s has changed, and stays as it was: %s", self._path, error)  # noqa: TRY400 - no fault
        return self._users.get(name)

    def any_password(self) -> str | None:
        """One of the hashes."""
        return next(iter(self._users.values()), None)

    def _read(self) -> dict[str, str]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise DocumentError([Problem(Position(str(self._path)), f"cannot be read: {reason}")]) from error
        except UnicodeDecodeError as error:
            raise DocumentError([Problem(Position(str(self._path)), "is not UTF-8")]) from error
        return parse_htpasswd(text, str(self._path))

    def _look(self) -> tuple[int, ...]:
        """What changes whenever the file does."""
        try:
            found = os.stat(self._path)  # noqa: PTH116 - half the time of Path.stat, at every request with a password
        except OSError:
            return ()
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
