"""What the machine and the user's settings say: folders, the platform, registries. The composition root."""

import os
import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click

from layerkit.content.layout import Layout
from layerkit.oci.errors import OCIError
from layerkit.oci.platform import Platform, parse_platform
from layerkit.oci.reference import Reference, parse_reference
from layerkit.oci.repository import Registry


def data_folder() -> Path:
    """`$XDG_DATA_HOME/layerkit`, by default `~/.local/share/layerkit`."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "share") / "layerkit"


def open_store() -> Layout:
    """The local store of images."""
    return Layout(data_folder() / "store", create=True)


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
    """An image reference on the command line; a wrong one is wrong usage."""

    name = "reference"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Reference:
        if isinstance(value, Reference):
            return value
        try:
            return parse_reference(str(value))
        except OCIError as error:
            self.fail(error.message, param, ctx)


@asynccontextmanager
async def open_registry(reference: Reference, *, insecure: bool = False) -> AsyncIterator[Registry]:
    """The registry of a reference, with the user's credentials for it."""
    # Not at the top: the HTTP client takes 0.3 s to import, and a build that talks to nobody needs none of it.
    from layerkit.remote.client import Connection, open_client  # noqa: PLC0415
    from layerkit.remote.credentials import find_credentials, read_sources  # noqa: PLC0415
    from layerkit.remote.repository import RemoteRegistry  # noqa: PLC0415

    credentials = await find_credentials(reference, read_sources(os.environ))
    async with open_client(Connection(host=reference.host, credentials=credentials, insecure=insecure)) as client:
        yield RemoteRegistry(client)
