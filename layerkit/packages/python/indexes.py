"""Indexes: where wheels are looked for, as pip and uv of this machine have been told, and with which credentials. Pure.

uv reads its own configuration. What pip alone has been told is handed to uv in the words of its environment, unless
uv has been told of indexes too. Source: pip's documentation, "Configuration"; uv's, "Environment variables".
"""

import configparser
import re
import tomllib
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

Read = Callable[[Path], str | None]
"""The text of a file, None for one that is not there or cannot be read."""

_UV_INDEXES: Final = (
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
)
_UV_KEYS: Final = frozenset({"index", "index-url", "extra-index-url", "find-links", "no-index"})
_COMMANDS: Final = ("global", "download", "install")
"""The sections of pip's files that count here, the later ones for more."""
_INDEX_NAME: Final = re.compile(r"\A[A-Za-z0-9_.-]+=(?=[a-z]+://)")
_TRUE: Final = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexes:
    """`environment` and `options` are what uv is to be told beside what it knows; `logins` are user and password by the
    origin of an index, like `https://pypi.example.org`."""

    environment: Mapping[str, str]
    options: tuple[str, ...]
    logins: Mapping[str, tuple[str, str]]

    def authorization(self, url: str) -> str:
        """What to say of ourselves to whoever has this URL, "" for nothing. Source: RFC 7617."""
        login = self.logins.get(_origin(url))
        return f"Basic {b64encode(':'.join(login).encode()).decode()}" if login else ""


NO_INDEXES: Final = Indexes(environment={}, options=(), logins={})


def read_indexes(environ: Mapping[str, str], home: Path, folders: list[Path], read: Read) -> Indexes:
    """What the user's settings say. `folders` are those of projects, in which uv may have been told too."""
    told = [text for path in _uv_files(environ, home, folders) if (text := read(path))]
    uv = [settings for text in told if (settings := _uv_settings(text))]
    is_told = any(name in environ for name in _UV_INDEXES) or any(_names_indexes(settings) for settings in uv)
    pip = {} if is_told else _read_pip(environ, home, read)
    environment = dict(_for_uv(pip, environ))
    logins: dict[str, tuple[str, str]] = {}
    netrc = dict(_read_netrc(read(Path(environ["NETRC"]) if environ.get("NETRC") else home / ".netrc") or ""))
    logins.update({f"https://{host}": login for host, login in netrc.items()})
    urls = [url for settings in uv for url in _uv_urls(settings, environ)]
    urls += [word for name in _UV_INDEXES for word in environ.get(name, "").replace(",", " ").split()]
    urls += [word for value in environment.values() for word in value.replace(",", " ").split()]
    for url in (_INDEX_NAME.sub("", each) for each in urls):
        # A host of .netrc is told over http only where the user has named an index there.
        if found := _login(url) or netrc.get(_host(url)):
            logins[_origin(url)] = found
    # uv has no variable for it.
    options = ("--no-index",) if pip.get("no-index", "").lower() in _TRUE else ()
    return Indexes(environment=environment, options=options, logins=logins)


def indexes_of(urls: Iterable[str]) -> Indexes:
    """What URLs say by themselves."""
    logins = {_origin(url): login for url in urls if (login := _login(url))}
    return Indexes(environment={}, options=(), logins=logins)


def without_login(url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else url


def _for_uv(pip: Mapping[str, str], environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if "index-url" in pip:
        yield "UV_DEFAULT_INDEX", pip["index-url"]
    if extra := pip.get("extra-index-url", "").split():
        yield "UV_INDEX", " ".join(extra)
        if "UV_INDEX_STRATEGY" not in environ:
            # pip takes the best version of all indexes, uv by itself those of the first that has any.
            yield "UV_INDEX_STRATEGY", "unsafe-best-match"
    if links := pip.get("find-links", "").split():
        yield "UV_FIND_LINKS", ",".join(links)
    if pip.get("cert") and "SSL_CERT_FILE" not in environ:
        yield "SSL_CERT_FILE", pip["cert"]
    if (hosts := pip.get("trusted-host", "").split()) and "UV_INSECURE_HOST" not in environ:
        yield "UV_INSECURE_HOST", " ".join(hosts)


def _read_pip(environ: Mapping[str, str], home: Path, read: Read) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for path in _pip_files(environ, home):
        text = read(path)
        if text is None:
            continue
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(text)
        except configparser.Error:
            # pip says what is wrong with it.
            continue
        for section in _COMMANDS:
            if parser.has_section(section):
                found.update({name.replace("_", "-"): value for name, value in parser.items(section)})
    for name, value in environ.items():
        if name.startswith("PIP_") and value:
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return found


def _pip_files(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    own = environ.get("PIP_CONFIG_FILE", "")
    if own == "/dev/null":
        return
    for folder in reversed(environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")):
        if folder.startswith("/"):
            yield Path(folder) / "pip/pip.conf"
    yield Path("/etc/pip.conf")
    yield home / ".pip/pip.conf"
    yield _config_home(environ, home) / "pip/pip.conf"
    if environ.get("VIRTUAL_ENV"):
        yield Path(environ["VIRTUAL_ENV"]) / "pip.conf"
    if own:
        yield Path(own)


def _uv_files(environ: Mapping[str, str], home: Path, folders: list[Path]) -> Iterator[Path]:
    if environ.get("UV_NO_CONFIG", "").lower() in _TRUE:
        return
    if environ.get("UV_CONFIG_FILE"):
        yield Path(environ["UV_CONFIG_FILE"])
        return
    for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":"):
        if folder.startswith("/"):
            yield Path(folder) / "uv/uv.toml"
    yield Path("/etc/uv/uv.toml")
    yield _config_home(environ, home) / "uv/uv.toml"
    for project in folders:
        for parent in (project, *project.parents):
            yield parent / "uv.toml"
            yield parent / "pyproject.toml"


def _config_home(environ: Mapping[str, str], home: Path) -> Path:
    base = environ.get("XDG_CONFIG_HOME", "")
    return Path(base) if base.startswith("/") else home / ".config"


def _uv_settings(text: str) -> dict[str, Any]:
    """Those of a `uv.toml`, or of the part of a `pyproject.toml` that is uv's."""
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}
    if "project" in values or "tool" in values or "build-system" in values:
        tool = values.get("tool")
        found = tool.get("uv") if isinstance(tool, dict) else None
        return found if isinstance(found, dict) else {}
    return values


def _names_indexes(settings: Mapping[str, Any]) -> bool:
    pip = settings.get("pip")
    return bool(_UV_KEYS & (settings.keys() | (pip.keys() if isinstance(pip, dict) else set())))


def _uv_urls(settings: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[str]:
    pip = settings.get("pip")
    for part in (settings, pip if isinstance(pip, dict) else {}):
        for name in ("index-url", "extra-index-url", "find-links"):
            value = part.get(name, [])
            yield from (str(url) for url in (value if isinstance(value, list) else [value]))
    indexes = settings.get("index")
    for index in indexes if isinstance(indexes, list) else ():
        if not isinstance(index, dict):
            continue
        url, name = str(index.get("url", "")), str(index.get("name", ""))
        variable = "UV_INDEX_" + "".join(c if c.isalnum() else "_" for c in name.upper())
        user, password = environ.get(f"{variable}_USERNAME", ""), environ.get(f"{variable}_PASSWORD", "")
        if user or password:
            parts = urlsplit(url)
            yield parts._replace(
                netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc.rpartition('@')[2]}"
            ).geturl()
        else:
            yield url


def _read_netrc(text: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Logins by host. Source: ftp(1), "The .netrc file"."""
    words = iter(text.split())
    host, found = "", {"login": "", "password": ""}
    for word in words:
        if word == "machine":
            if host and found["password"]:
                yield host, (found["login"], found["password"])
            host, found = next(words, ""), {"login": "", "password": ""}
        elif word in found:
            found[word] = next(words, "")
        elif word == "default":
            break
    if host and found["password"]:
        yield host, (found["login"], found["password"])


def _login(url: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.username is None and parts.password is None:
        return None
    return unquote(parts.username or ""), unquote(parts.password or "")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _origin(url: str) -> str:
    """Scheme, host and port, as one tells servers apart (RFC 6454)."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    return f"{parts.scheme}://{parts.hostname}" + (f":{port}" if port not in {None, usual} else "")
