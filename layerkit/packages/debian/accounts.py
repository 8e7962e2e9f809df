"""System users and groups: those that packages make when they are configured.

Sources: adduser(8), useradd(8), groupadd(8), sysusers.d(5), passwd(5), shadow(5); Debian Policy, 9.2. Numbers do not
depend on the order in which packages come: a name has the same one in every image, as long as nobody has it already.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from layerkit.packages.debian.system import System

PASSWD: Final = "etc/passwd"  # noqa: S105 - a file that has had no passwords for decades
GROUP: Final = "etc/group"
SHADOW: Final = "etc/shadow"
GSHADOW: Final = "etc/gshadow"
NOLOGIN: Final = "/usr/sbin/nologin"
_FIRST, _LAST = 100, 999
"""Of the numbers that packages may take (Policy, 9.2.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemUser:
    """`group` None is one of the user's own name where `has_group` says so, else nogroup."""

    name: str
    uid: int | None = None
    gid: int | None = None
    group: str | None = None
    has_group: bool = False
    home: str = "/nonexistent"
    shell: str = NOLOGIN
    comment: str = ""
    makes_home: bool = False


class Accounts:
    """The account files of a system. What is there already is never changed."""

    def __init__(self, system: System) -> None:
        self._system = system

    def uid_of(self, name: str) -> int | None:
        return int(name) if name.isdigit() else self._number(PASSWD, name)

    def gid_of(self, name: str) -> int | None:
        return int(name) if name.isdigit() else self._number(GROUP, name)

    def add_group(self, name: str, gid: int | None = None) -> int:
        known = self._number(GROUP, name)
        if known is not None:
            return known
        number = self._free(GROUP, name) if gid is None else gid
        self._append(GROUP, f"{name}:x:{number}:")
        if self._system.exists(GSHADOW):
            self._append(GSHADOW, f"{name}:!::")
        return number

    def add_user(self, user: SystemUser) -> None:
        if self._number(PASSWD, user.name) is not None:
            return
        number = self._free(PASSWD, user.name) if user.uid is None else user.uid
        if user.group is not None:
            gid = self.gid_of(user.group)
            gid = self.add_group(user.group) if gid is None else gid
        elif user.has_group:
            wanted = user.gid
            if wanted is None and number not in self._numbers(GROUP):
                wanted = number
            gid = self.add_group(user.name, wanted)
        else:
            gid = 65534 if user.gid is None else user.gid
        self._append(PASSWD, f"{user.name}:x:{number}:{gid}:{user.comment}:{user.home}:{user.shell}")
        if self._system.exists(SHADOW):
            # Without the day of the last change, which would be another one in each build.
            self._append(SHADOW, f"{user.name}:!:::::::")
        if user.makes_home and user.home.startswith("/"):
            self._system.make_directory(user.home, mode=0o755, uid=number, gid=gid)

    def add_member(self, name: str, group: str) -> None:
        lines = self._system.read(GROUP).decode(errors="surrogateescape").splitlines()
        for number, line in enumerate(lines):
            fields = line.split(":")
            if fields[0] == group and len(fields) == 4:
                members = [member for member in fields[3].split(",") if member]
                if name not in members:
                    lines[number] = ":".join([*fields[:3], ",".join([*members, name])])
                    text = "".join(f"{line}\n" for line in lines)
                    self._system.write(GROUP, text.encode(errors="surrogateescape"))
                return

    def make_shadow(self) -> None:
        """What `shadowconfig on` does: the passwords, of which there are none, in files that only root reads."""
        gid = self._number(GROUP, "shadow") or 0
        for source, target in ((PASSWD, SHADOW), (GROUP, GSHADOW)):
            if self._system.exists(target):
                continue
            end = ":*:::::::" if target == SHADOW else ":*::"
            names = [line.partition(":")[0] for line in self._lines(source)]
            self._system.write(target, "".join(f"{name}{end}\n" for name in names).encode(), mode=0o640, gid=gid)
            text = "".join(f"{_without_password(line)}\n" for line in self._lines(source))
            self._system.write(source, text.encode(errors="surrogateescape"))

    def _free(self, path: str, name: str) -> int:
        taken = self._numbers(path)
        span = _LAST - _FIRST + 1
        start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % span
        return next(number for n in range(span) if (number := _FIRST + (start + n) % span) not in taken)

    def _number(self, path: str, name: str) -> int | None:
        fields = (line.split(":") for line in self._lines(path))
        return next((int(f[2]) for f in fields if f[0] == name and len(f) > 2 and f[2].isdigit()), None)

    def _numbers(self, path: str) -> set[int]:
        fields = (line.split(":") for line in self._lines(path))
        return {int(f[2]) for f in fields if len(f) > 2 and f[2].isdigit()}

    def _lines(self, path: str) -> list[str]:
        return self._system.read(path).decode(errors="surrogateescape").splitlines()

    def _append(self, path: str, line: str) -> None:
        old = self._system.read(path)
        end = b"" if not old or old.endswith(b"\n") else b"\n"
        self._system.write(path, old + end + line.encode() + b"\n")


def parse_sysusers(text: str, accounts: Accounts) -> None:
    """Make the users and groups of a file of sysusers.d."""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        fields = _split(line)
        kind, name, identity = fields[0].rstrip("!"), fields[1] if len(fields) > 1 else "", (fields + ["-"] * 6)[2]
        comment, home, shell = ("" if field == "-" else field for field in (fields + ["-"] * 6)[3:6])
        if "%" in name:
            continue
        if kind == "g":
            accounts.add_group(name, int(identity) if identity.isdigit() else None)
        elif kind == "u":
            uid, _, group = identity.partition(":")
            accounts.add_user(
                SystemUser(
                    name=name,
                    uid=int(uid) if uid.isdigit() else None,
                    gid=int(uid) if uid.isdigit() and not group else None,
                    group=group or None,
                    has_group=not group,
                    home=home or "/",
                    shell=shell or NOLOGIN,
                    comment=comment,
                )
            )
        elif kind == "m":
            accounts.add_member(name, identity)


def _split(line: str) -> list[str]:
    import shlex  # noqa: PLC0415 - few packages have such files

    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _without_password(line: str) -> str:
    fields = line.split(":")
    return ":".join([fields[0], "x", *fields[2:]]) if len(fields) > 2 else line
