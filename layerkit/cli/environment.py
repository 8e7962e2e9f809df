"""What the machine and the user's settings say: folders, the platform, registries. The composition root."""

import os
import platform
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
import msgspec

from layerkit.cli.voice import Voice
from layerkit.content.store import Store
from layerkit.oci.errors import OCIError
from layerkit.oci.platform import Platform, parse_platform
from layerkit.oci.reference import Reference, has_explicit_domain, parse_reference
from layerkit.oci.repository import Registry
from layerkit.progress import Progress

if TYPE_CHECKING:
    from layerkit.build.builder import Builder
    from layerkit.build.fetch import Answer
    from layerkit.build.python_tools import PythonTools
    from layerkit.packages.lock import Lock
    from layerkit.packages.python.indexes import Indexes

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from layerkit.remote.auth import Credentials
    from layerkit.remote.client import Connection, FindCredentials
    from layerkit.remote.registries import Endpoint

T = TypeVar("T")


def data_folder() -> Path:
    """`$XDG_DATA_HOME/layerkit`, by default `~/.local/share/layerkit`."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "share") / "layerkit"


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/layerkit`, by default `~/.cache/layerkit`: what can be made again."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "layerkit"


def cache_size() -> int:
    """LAYERKIT_CACHE_SIZE, in bytes or with a unit, by default 10 GB: what builds leave of the cache."""
    text = os.environ.get("LAYERKIT_CACHE_SIZE", "")
    if not text:
        from layerkit.build.bounds import DEFAULT_SIZE  # noqa: PLC0415 - most commands build nothing

        return DEFAULT_SIZE
    from layerkit.document.problem import InvalidValue  # noqa: PLC0415
    from layerkit.document.scalars import parse_byte_size  # noqa: PLC0415

    try:
        return parse_byte_size(text)
    except InvalidValue as error:
        raise click.UsageError(f"LAYERKIT_CACHE_SIZE: {error.message}; {error.hint}") from error


def host_platform() -> Platform:
    """Linux on the architecture of this machine: images are made for Linux, wherever they are built."""
    return parse_platform(f"linux/{platform.machine().lower() or 'amd64'}")


def source_date_epoch() -> int | None:
    """SOURCE_DATE_EPOCH, in seconds since 1970. Source: reproducible-builds.org/specs/source-date-epoch."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    # The length first: of too many digits Python makes no number.
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 2**33):
        raise click.UsageError(f"SOURCE_DATE_EPOCH={text!r} is no number of seconds since 1970")
    return int(text)


class ReferenceType(click.ParamType[Reference]):
    """An image reference on the command line; a wrong one is wrong usage.

    What is written to `is_target`, and has to name its registry: nobody means to push to Docker Hub's own images.
    """

    name = "reference"

    def __init__(self, *, is_target: bool = False) -> None:
        self._is_target = is_target

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Reference:
        if isinstance(value, Reference):
            return value
        text = str(value)
        try:
            reference = parse_reference(text)
        except OCIError as error:
            self.fail(error.message, param, ctx)
        if self._is_target and not has_explicit_domain(text):
            self.fail(f"{text} does not name its registry; write HOST/{text}, or {reference}", param, ctx)
        return reference

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":  # noqa: ARG002
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - for shells alone

        from layerkit.cli.completion import complete_images  # noqa: PLC0415

        return [CompletionItem(name) for name in complete_images(incomplete)]


class PlatformType(click.ParamType[Platform]):
    """`os/architecture[/variant]` on the command line."""

    name = "platform"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Platform:
        if isinstance(value, Platform):
            return value
        try:
            return parse_platform(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class RegistryType(click.ParamType[Reference]):
    """A registry on the command line, `HOST` or `HOST:PORT`; the value is some repository of it."""

    name = "registry"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Reference:
        if isinstance(value, Reference):
            return value
        domain = str(value).removeprefix("https://").rstrip("/")
        try:
            reference = parse_reference(f"{domain}/repository")
        except OCIError as error:
            self.fail(error.message, param, ctx)
        if reference.domain not in (domain, domain.removeprefix("index.")):
            self.fail(
                f"{str(value)[:80]!r} is no registry: expected HOST or HOST:PORT, like localhost:5000", param, ctx
            )
        return reference


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach registries, as the command line says: the same options for every command that talks to them."""

    insecure: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    authfile: Path | None = None


_USUAL: Final = Access()
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_ACCESS_OPTIONS: Final = (
    click.option(
        "--insecure", is_flag=True, help="Allow plain HTTP and unknown certificates at registries of other machines."
    ),
    click.option("--ca", type=_FILE, metavar="FILE", help="Trust what is signed with this certificate, too."),
    click.option("--cert", type=_FILE, metavar="FILE", help="Show registries this certificate; needs --key."),
    click.option("--key", type=_FILE, metavar="FILE", help="The key of --cert."),
    click.option(
        "--authfile",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Credentials, as docker and podman keep them.",
    ),
)


def access_options(command: Callable[..., T]) -> Callable[..., T]:
    """Add the options of `Access` to a command, which gets them as its keyword `access`."""

    @wraps(command)
    def run(
        *arguments: Any,
        insecure: bool,
        ca: Path | None,
        cert: Path | None,
        key: Path | None,
        authfile: Path | None,
        **options: Any,
    ) -> T:
        if (cert is None) != (key is None):
            raise click.UsageError("--cert and --key go together.")
        access = Access(insecure=insecure, ca=ca, certificate=cert, key=key, authfile=authfile)
        return command(*arguments, access=access, **options)

    for option in reversed(_ACCESS_OPTIONS):
        run = option(run)
    return run


def open_store(access: Access = _USUAL) -> Store:
    """The local store of images. What it has to bring from registries it brings as `open_registry` would."""

    def reach(reference: Reference) -> AbstractAsyncContextManager[Registry]:
        return open_registry(reference, access)

    return Store(data_folder() / "store", reach, create=True)


@asynccontextmanager
async def open_registry(reference: Reference, access: Access = _USUAL) -> AsyncIterator[Registry]:
    """The registry of a reference, with the user's credentials and certificates for it."""
    # Not at the top: the HTTP client takes 0.3 s to import, and a build that talks to nobody needs none of it.
    from layerkit.remote.credentials import find_credentials, read_sources  # noqa: PLC0415
    from layerkit.remote.mirrors import open_routed  # noqa: PLC0415
    from layerkit.remote.registries import load_registries  # noqa: PLC0415
    from layerkit.remote.retry import HASTY, PATIENT  # noqa: PLC0415

    sources = read_sources(os.environ, access.authfile)

    def describe(endpoint: "Endpoint", is_mirror: bool) -> "Connection":
        trusting = msgspec.structs.replace(access, insecure=access.insecure or endpoint.insecure)
        connection = _connection(
            endpoint.reference.host, trusting, lambda: find_credentials(endpoint.reference, sources)
        )
        return msgspec.structs.replace(connection, patience=HASTY if is_mirror else PATIENT)

    async with open_routed(reference.domain, load_registries(os.environ), describe) as registry:
        yield registry


async def check_login(reference: Reference, credentials: "Credentials", access: Access) -> bool:
    """Whether the registry asked who we are. Raises Unauthorized where it does not know us."""
    from layerkit.oci.request import Ping  # noqa: PLC0415 - as above
    from layerkit.remote.client import open_client  # noqa: PLC0415

    async with open_client(_connection(reference.host, access, credentials)) as client:
        async with client.send("GET", Ping(), expected=frozenset({200})):
            pass
        return client.was_asked


def _connection(host: str, access: Access, credentials: "Credentials | FindCredentials") -> "Connection":
    from layerkit.remote.client import Connection  # noqa: PLC0415 - as above
    from layerkit.remote.tls import Certificates, certificate_folders, find_certificates, make_context  # noqa: PLC0415

    certificates = find_certificates(host, certificate_folders(os.environ)) + Certificates(
        authorities=(access.ca,) if access.ca else (),
        pairs=((access.certificate, access.key),) if access.certificate and access.key else (),
    )
    return Connection(
        host=host,
        credentials=credentials,
        insecure=access.insecure,
        tls=make_context(certificates, verify=not access.insecure) if certificates or access.insecure else None,
        note=_warn,
    )


@asynccontextmanager
async def open_url(
    url: str, offset: int = 0, version: str = "", access: Access = _USUAL, authorization: str = ""
) -> "AsyncIterator[Answer]":
    """A file of the web, whose server may have a certificate of the command line's authority."""
    from layerkit.remote.tls import Certificates, make_context  # noqa: PLC0415 - see open_registry
    from layerkit.remote.web import open_url as open_web  # noqa: PLC0415

    tls = make_context(Certificates(authorities=(access.ca,), pairs=())) if access.ca else None
    async with open_web(url, offset, version, tls=tls, authorization=authorization) as answer:
        yield answer


def make_builder(
    access: Access,
    progress: Progress,
    *,
    is_cached: bool = True,
    is_strict: bool = False,
    backwards: bool = False,
    limits: Mapping[str, int] = MappingProxyType({}),
    lock: "Lock | None" = None,
    is_locked: bool = False,
) -> "Builder":
    """The builder into the local store; one that goes `backwards` works in one thread as well. With `is_locked` it must
    find all that it needs in the `lock`.

    `limits` of what others made are those that are not the usual ones, by the names of `layer.limits.Limits`.
    """
    from layerkit.build.builder import Builder  # noqa: PLC0415 - most commands build nothing
    from layerkit.layer.limits import Limits  # noqa: PLC0415
    from layerkit.packages.lock import NO_LOCK  # noqa: PLC0415

    return Builder(
        store=open_store(access),
        open_registry=lambda reference: open_registry(reference, access),
        open_url=lambda url, offset, version: open_url(url, offset, version, access),
        cache=cache_folder(),
        is_cached=is_cached,
        is_strict=is_strict,
        source_date_epoch=source_date_epoch(),
        backwards=backwards,
        threads=1 if backwards else None,
        limits=Limits(**limits),
        lock=NO_LOCK if lock is None else lock,
        is_locked=is_locked,
        python=_python_tools(access),
        progress=progress,
    )


def _python_tools(access: Access) -> "PythonTools":
    from layerkit.build.python_tools import PythonTools  # noqa: PLC0415 - as above

    return PythonTools(
        indexes=read_indexes_of,
        environment=os.environ,
        open_url=lambda url, offset, version, authorization: open_url(url, offset, version, access, authorization),
    )


def read_indexes_of(folder: Path) -> "Indexes":
    """What pip and uv of this machine have been told, in the folder of a project too."""
    from layerkit.packages.python.indexes import read_indexes  # noqa: PLC0415 - few specs have wheels

    return read_indexes(os.environ, Path.home(), [folder], _read_text)


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _warn(text: str) -> None:
    """Tell it as the command that runs tells such things."""
    context = click.get_current_context(silent=True)
    voice = context.find_object(Voice) if context is not None else None
    (voice or Voice()).warn(text)
