"""Where a login is kept: in the files and helpers of docker and podman, so that all of them have it.

A file is replaced at once, for its owner's eyes alone, with all in it that is none of our business.
"""

import asyncio
import base64
import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from layerkit.files import readable_errors, replace_file
from layerkit.oci.errors import Unauthorized
from layerkit.oci.reference import DOCKER_HUB
from layerkit.remote.auth import Credentials
from layerkit.remote.credentials import default_paths, registry_keys
from layerkit.remote.helper import clear_helper, tell_helper

_MODE: Final = 0o600


def choose_file(environment: Mapping[str, str], authfile: Path | None, domain: str) -> Path:
    """The file that keeps a login: the one that was named (`authfile`, REGISTRY_AUTH_FILE), else the first that has
    one for the registry already, because it would be found first, else docker's.

    Raises Unauthorized for a file that is none of credentials.
    """
    paths = login_files(environment, authfile)
    return next((path for path in paths if _knows(_read(path), domain)), paths[-1])


def login_files(environment: Mapping[str, str], authfile: Path | None) -> list[Path]:
    """The files that may have a login: the one that was named alone, else those of podman and docker, docker's last."""
    if named := authfile or environment.get("REGISTRY_AUTH_FILE", ""):
        return [Path(named)]
    # ~/.dockercfg is no longer written by anybody.
    return [path for path in default_paths(environment) if path.name != ".dockercfg"]


async def keep_login(path: Path, domain: str, credentials: Credentials) -> str:
    """Keep a login in a file, or with the helper that the file names for it; the answer says where.

    Raises Unauthorized where that cannot be.
    """
    document = _read(path)
    key = registry_keys(domain)[0] if path.name == "config.json" else domain
    helper = _helper_of(document, domain)
    if helper:
        await tell_helper(helper, registry_keys(domain)[0], credentials)
        entry: dict[str, str] = {}
    elif credentials.identity_token:
        entry = {"identitytoken": credentials.identity_token}
    else:
        pair = f"{credentials.username}:{credentials.password}"
        entry = {"auth": base64.b64encode(pair.encode()).decode()}
    if not helper or helper == document.get("credsStore"):
        # Docker lists what its store has; of a registry with a helper of its own it writes nothing.
        await asyncio.to_thread(_change, path, domain, {key: entry})
    return f"docker-credential-{helper}" if helper else str(path)


async def erase_login(path: Path, domain: str) -> bool:
    """Forget a login; False where the file has none. Raises Unauthorized where that cannot be."""
    document = _read(path)
    if not _knows(document, domain):
        return False
    helper = _helper_of(document, domain)
    if helper:
        await clear_helper(helper, registry_keys(domain)[0])
    await asyncio.to_thread(_change, path, domain, {})
    return True


def _helper_of(document: Mapping[str, Any], domain: str) -> str:
    helpers = document.get("credHelpers") or {}
    found = next((helpers[key] for key in registry_keys(domain) if helpers.get(key)), "")
    return str(found or document.get("credsStore") or "")


def _knows(document: Mapping[str, Any], domain: str) -> bool:
    places = [document.get("auths") or {}, document.get("credHelpers") or {}]
    return any(key in place for place in places for key in _keys(domain))


def _keys(domain: str) -> tuple[str, ...]:
    return (*registry_keys(domain), *((DOCKER_HUB,) if domain == DOCKER_HUB else ()))


def _read(path: Path) -> dict[str, Any]:
    """What a file says; nothing where there is none."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Unauthorized(f"{path} cannot be read: {error.strerror}") from error
    try:
        document = json.loads(raw) if raw.strip() else {}
    except (ValueError, RecursionError):
        document = None
    parts = ("auths", "credHelpers")
    if not isinstance(document, dict) or not all(isinstance(document.get(part), dict | None) for part in parts):
        raise Unauthorized(f"{path} is no credential file: mend it, or name another one with --authfile")
    return document


def _change(path: Path, domain: str, entries: Mapping[str, Mapping[str, str]]) -> None:
    """Put these entries in the place of all that a file has for a registry."""
    # Whoever keeps such files elsewhere, and links to them, wants to keep them there.
    path = Path(os.path.realpath(path))
    with readable_errors(f"writing {path}"):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path.parent):
            if path.exists() and not stat.S_ISREG(path.stat().st_mode):
                raise Unauthorized(f"{path} is no file that could keep a login: name one with --authfile")
            document = _read(path)
            kept = {key: entry for key, entry in (document.get("auths") or {}).items() if key not in _keys(domain)}
            document["auths"] = {**kept, **entries}
            replace_file(path, f"{json.dumps(document, indent=chr(9))}\n".encode(), mode=_MODE)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One at a time changes a file in a folder. (The lock is the folder's: it leaves nothing behind.)"""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
