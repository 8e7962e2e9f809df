"""Engines: images into a docker or podman that runs here.

What is sent is one archive (`content/export.py`), made while it is sent. An image that the engine has is not sent at
all; to a docker that keeps layers unpacked none is sent that another of its images has (its loader asks for a layer's
content only where it does not know its chain: moby, daemon/internal/image/tarexport/load.go). All others get it whole.
"""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlsplit

import aiohttp

from layerkit.content.export import Export
from layerkit.oci.config import ImageConfig
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.errors import OCIError, Unavailable

Advance = Callable[[Descriptor, int], None]

_DOCKER_SOCKET: Final = Path("/var/run/docker.sock")
_PODMAN_SOCKET: Final = Path("/run/podman/podman.sock")
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=30)
_PATIENCE: Final = 5
"""Seconds for a socket of this machine."""
_MOST_IMAGES: Final = 200
"""Of an engine, that are asked for their layers."""
_MOST_ANSWER: Final = 1024 * 1024
_ADVICE: Final = "start docker or podman, or let DOCKER_HOST name its socket, like unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketEngine:
    """An engine that speaks docker's API, at a socket's `path` or at `host`."""

    name: str
    path: Path | None = None
    host: str = ""
    tls: ssl.SSLContext | None = None

    async def load(self, export: Export, *, advance: Advance) -> bool:
        """Let the engine have the images; False where it had them. Raises OCIError with the engine's own words."""
        wanted = [await _Wanted.of(export, entry) for entry in _saved(export)]
        async with self._session() as session:
            if wanted and all([await _has(session, each) for each in wanted]):
                return False
            without = await _known_layers(session, wanted) if wanted else frozenset[Digest]()
            try:
                await _send(session, export, without, advance)
            except OCIError:
                if not without:
                    raise
                # An image may have been deleted meanwhile, and with it the layers that were counted on.
                await _send(session, export, frozenset(), advance)
        return True

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        connector = (
            aiohttp.UnixConnector(path=str(self.path)) if self.path else aiohttp.TCPConnector(ssl=self.tls or True)
        )
        base = f"{'https' if self.tls else 'http'}://{self.host or 'engine'}"
        try:
            async with aiohttp.ClientSession(base, connector=connector, timeout=_TIMEOUT) as session:
                yield session
        except aiohttp.ClientError as error:
            if isinstance(error.__cause__, OCIError):
                # What the archive's content raised: the engine is not to blame.
                raise error.__cause__ from None
            raise Unavailable(f"cannot reach {self.name}: {error}; {_ADVICE}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class PodmanProgram:
    """A podman that nobody needs to have started. `command` is the program with what comes before `load`."""

    command: tuple[str, ...] = ("podman",)
    name: str = "podman"

    async def load(self, export: Export, *, advance: Advance) -> bool:
        """Let podman have the images. Raises OCIError with its own words."""
        _saved(export)
        process = await asyncio.create_subprocess_exec(
            *self.command,
            "load",
            "--quiet",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            # Read while it is written to: it may have more to say than a pipe holds.
            said = asyncio.create_task(_read_all(process))
            try:
                await _feed(process, export, advance)
            finally:
                if not said.done():
                    await asyncio.wait([said])
            if await process.wait():
                raise OCIError(f"podman load failed: {said.result() or 'it said nothing'}")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return True


Engine: TypeAlias = SocketEngine | PodmanProgram


def find_engine(environment: Mapping[str, str], which: Callable[[str], str | None]) -> Engine:
    """The engine that DOCKER_HOST names, else docker's or podman's socket, else the program podman.

    Raises Unavailable where there is none.
    """
    host = environment.get("DOCKER_HOST", "")
    if host:
        return _named_engine(host, environment)
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    sockets = [("docker", _DOCKER_SOCKET), ("podman", _PODMAN_SOCKET)]
    if runtime:
        sockets.insert(1, ("podman", Path(runtime) / "podman" / "podman.sock"))
    for name, path in sockets:
        if _answers(path):
            return SocketEngine(name=f"{name} at {path}", path=path)
    program = which("podman")
    if program is None:
        raise Unavailable(f"no engine was found to load images into: {_ADVICE}")
    return PodmanProgram(command=(program,))


def _answers(path: Path) -> bool:
    """Whether anybody listens at the socket who takes calls from us."""
    if not path.is_socket():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(_PATIENCE)
        try:
            line.connect(str(path))
        except OSError:
            return False
    return True


def _named_engine(host: str, environment: Mapping[str, str]) -> Engine:
    parts = urlsplit(host)
    if parts.scheme == "unix" and parts.path:
        return SocketEngine(name=f"the engine at {host}", path=Path(parts.path))
    if parts.scheme not in {"tcp", "http", "https"} or not parts.netloc:
        raise OCIError(f"DOCKER_HOST={host} is not supported: expected unix:///PATH or tcp://HOST:PORT")
    tls = None
    if environment.get("DOCKER_TLS_VERIFY") or parts.scheme == "https":
        folder = Path(environment.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
        try:
            tls = ssl.create_default_context(cafile=folder / "ca.pem")
            tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        except OSError as error:
            raise OCIError(f"the certificates for DOCKER_HOST={host} in {folder} cannot be read: {error}") from error
    return SocketEngine(name=f"the engine at {host}", host=parts.netloc, tls=tls)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """An image that the engine is to have: its id, its names, and its layers' digests by their chains."""

    config: Digest
    names: tuple[str, ...]
    diff_ids: tuple[Digest, ...]
    layers: tuple[Digest, ...]

    @classmethod
    async def of(cls, export: Export, entry: Mapping[str, Any]) -> "_Wanted":
        digest = _digest(entry["Config"])
        async with export.source.open_blob(digest) as blob:
            config = ImageConfig.parse(b"".join([chunk async for chunk in blob]))
        layers = tuple(_digest(path) for path in entry["Layers"])
        return cls(config=digest, names=tuple(entry["RepoTags"]), diff_ids=config.diff_ids, layers=layers)


def _saved(export: Export) -> list[dict[str, Any]]:
    raw = dict(export.documents).get("manifest.json")
    if raw is None:
        raise OCIError("none of the images can be loaded into an engine: they are no images, or not complete")
    return list(json.loads(raw))


def _digest(path: str) -> Digest:
    """Of `blobs/sha256/0123...`."""
    return Digest(path.removeprefix("blobs/").replace("/", ":"))


async def _has(session: aiohttp.ClientSession, wanted: _Wanted) -> bool:
    shown = [await _ask(session, f"/images/{quote(name)}/json") for name in wanted.names or (wanted.config,)]
    return all(isinstance(each, dict) and each.get("Id") == wanted.config for each in shown)


async def _known_layers(session: aiohttp.ClientSession, wanted: Sequence[_Wanted]) -> frozenset[Digest]:
    """The layers that the engine's loader does not look for, because the engine has their chains."""
    version, info = await _ask(session, "/version"), await _ask(session, "/info")
    if not isinstance(version, dict) or not isinstance(info, dict):
        return frozenset()
    if "podman" in json.dumps(version.get("Components") or []).lower() or "containerd" in json.dumps(
        info.get("DriverStatus") or []
    ):
        # These keep layers as they were stored, and want all of them.
        return frozenset()
    listed = await _ask(session, "/images/json")
    chains = []
    for image in (listed if isinstance(listed, list) else [])[:_MOST_IMAGES]:
        shown = await _ask(session, f"/images/{quote(str(image.get('Id')))}/json")
        if isinstance(shown, dict):
            chains.append((shown.get("RootFS") or {}).get("Layers") or [])
    known: set[Digest] = set()
    needed: set[Digest] = set()
    for each in wanted:
        has = max((_common(each.diff_ids, chain) for chain in chains), default=0)
        known.update(each.layers[:has])
        needed.update(each.layers[has:])
    return frozenset(known - needed)


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many they have in common at their beginning."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


async def _ask(session: aiohttp.ClientSession, path: str) -> object:
    """The JSON of an answer; None where there is no such thing."""
    async with session.get(path) as response:
        if response.status != 200:
            return None
        try:
            return await response.json(content_type=None)
        except ValueError:
            return None


async def _send(session: aiohttp.ClientSession, export: Export, without: Collection[Digest], advance: Advance) -> None:
    headers = {"Content-Type": "application/x-tar"}
    body = export.chunks(without=without, advance=advance)
    async with session.post("/images/load?quiet=1", data=body, headers=headers) as response:
        answer = b""
        async for chunk in response.content.iter_any():
            answer = (answer + chunk)[-_MOST_ANSWER:]
        error = _error_in(answer.decode(errors="replace"))
        if response.status != 200 or error:
            raise OCIError(f"the engine did not load the image: {error or f'HTTP status {response.status}'}")


def _error_in(answer: str) -> str:
    """What the engine says went wrong. It may say so after it has answered that all is well."""
    for line in answer.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict) and (reason := said.get("error") or said.get("message")):
            return str(reason)
    return ""


async def _feed(process: asyncio.subprocess.Process, export: Export, advance: Advance) -> None:
    assert process.stdin is not None  # noqa: S101 - for mypy
    try:
        async for chunk in export.chunks(advance=advance):
            process.stdin.write(chunk)
            await process.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        # It has ended, and says why.
        return
    finally:
        process.stdin.close()


async def _read_all(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None  # noqa: S101 - for mypy
    return (await process.stderr.read()).decode(errors="replace").strip()
