"""Who we are at a registry: what docker's and podman's credential files and helpers say.

Sources: docker/cli, cli/config/configfile/file.go; containers/image, docs/containers-auth.json.5.md.
"""

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from layerkit.oci.codec import decode_json
from layerkit.oci.errors import Unauthorized
from layerkit.oci.reference import DOCKER_HUB, Reference
from layerkit.remote.auth import Credentials
from layerkit.remote.helper import ask_helper

_DOCKER_HUB_KEYS: Final = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")


class _Entry(msgspec.Struct):
    auth: str = ""
    username: str = ""
    password: str = ""
    identity_token: str = msgspec.field(default="", name="identitytoken")
    registry_token: str = msgspec.field(default="", name="registrytoken")


class _File(msgspec.Struct):
    auths: dict[str, _Entry] | None = None
    creds_store: str = msgspec.field(default="", name="credsStore")
    cred_helpers: dict[str, str] | None = msgspec.field(default=None, name="credHelpers")


class CredentialSource(msgspec.Struct, frozen=True):
    """One credential file, or its content given otherwise. `origin` names it in errors; a `bare` one is the oldest
    form, where what is below `auths` stands alone."""

    origin: str
    content: bytes
    bare: bool = False


def read_sources(environment: Mapping[str, str], authfile: Path | None = None) -> list[CredentialSource]:
    """What there is of the places where docker and podman keep credentials, the most specific first.

    `authfile`, REGISTRY_AUTH_FILE, DOCKER_AUTH_CONFIG, `containers/auth.json` below XDG_RUNTIME_DIR and
    XDG_CONFIG_HOME, DOCKER_CONFIG or `~/.docker`, `~/.dockercfg`. Raises Unauthorized for a file that was named and
    cannot be read.
    """
    sources = []
    if authfile is not None:
        sources.append(_read_named(authfile, "--authfile "))
    if named := environment.get("REGISTRY_AUTH_FILE", ""):
        sources.append(_read_named(Path(named), "REGISTRY_AUTH_FILE="))
    if inline := environment.get("DOCKER_AUTH_CONFIG", ""):
        sources.append(CredentialSource("DOCKER_AUTH_CONFIG", inline.encode()))
    for path in default_paths(environment):
        try:
            sources.append(CredentialSource(str(path), path.read_bytes(), bare=path.name == ".dockercfg"))
        except OSError:
            continue
    return sources


async def find_credentials(reference: Reference, sources: Sequence[CredentialSource]) -> Credentials | None:
    """The first that one of the sources has for a repository: its own, those of a path above it, its registry's.

    Raises Unauthorized for a source that cannot be read as such and for a helper that fails.
    """
    for source in sources:
        if not source.content.strip():
            # Nothing in it is no credentials, as in docker: REGISTRY_AUTH_FILE=/dev/null.
            continue
        try:
            file = _decode(source)
        except ValueError as error:
            raise Unauthorized(f"{source.origin} is no credential file: {error}") from error
        for key in _keys(reference):
            helper = (file.cred_helpers or {}).get(key, "")
            entry = (file.auths or {}).get(key)
            if helper:
                found = await ask_helper(helper, key)
            elif file.creds_store and (entry is not None or key == registry_keys(reference.domain)[0]):
                found = await ask_helper(file.creds_store, key)
            else:
                found = None
            found = found or (_of_entry(entry, source, key) if entry is not None else None)
            if found is not None:
                return found
    return None


def _read_named(path: Path, named_by: str) -> CredentialSource:
    try:
        return CredentialSource(str(path), path.read_bytes())
    except OSError as error:
        raise Unauthorized(f"{named_by}{path} cannot be read: {error.strerror}") from error


def _decode(source: CredentialSource) -> _File:
    if source.bare:
        return _File(auths=decode_json(source.content, dict[str, _Entry]))
    return decode_json(source.content, _File)


def default_paths(environment: Mapping[str, str]) -> Iterator[Path]:
    """Where credential files are that nobody named, whether there are any or not."""
    home = Path(environment.get("HOME") or "~").expanduser()
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    yield Path(runtime, "containers/auth.json") if runtime else Path(f"/run/containers/{os.getuid()}/auth.json")
    yield Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "containers", "auth.json")
    yield Path(environment.get("DOCKER_CONFIG") or home / ".docker", "config.json")
    yield home / ".dockercfg"


def _keys(reference: Reference) -> Iterator[str]:
    """The names under which a source may have the repository, the most specific first."""
    path = reference.name
    while "/" in path:
        yield path
        path = path.rpartition("/")[0]
    yield from registry_keys(reference.domain)


def registry_keys(domain: str) -> tuple[str, ...]:
    """The names under which a source may have a registry as a whole, the one that docker writes first."""
    if domain == DOCKER_HUB:
        return _DOCKER_HUB_KEYS
    urls = (f"{scheme}://{domain}{end}" for scheme in ("https", "http") for end in ("", "/v2/", "/v1/"))
    return (domain, *urls)


def _of_entry(entry: _Entry, source: CredentialSource, key: str) -> Credentials | None:
    username, password = entry.username, entry.password
    if entry.auth:
        try:
            username, colon, password = base64.b64decode(entry.auth, validate=True).decode().partition(":")
        except ValueError:
            colon = ""
        if not colon:
            raise Unauthorized(f"{source.origin}: the `auth` of {key} is not base64 of user:password")
    if not (username or entry.identity_token or entry.registry_token):
        return None
    return Credentials(username, password.rstrip("\0"), entry.identity_token, entry.registry_token)
