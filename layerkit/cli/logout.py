"""`layerkit logout`."""

import asyncio
import os
from pathlib import Path

import click

from layerkit.cli.environment import RegistryType
from layerkit.cli.output import Output, output_options
from layerkit.oci.reference import Reference


@click.command()
@click.argument("registry", type=RegistryType(), metavar="HOST")
@click.option(
    "--authfile",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Forget what this file has, and no other.",
)
@output_options
def logout(registry: Reference, *, authfile: Path | None, output: Output) -> None:
    """Forget the login of a registry, in all files of docker and podman that have one.

    \b
    layerkit logout registry.example
    """
    asyncio.run(_logout(registry.domain, authfile, output))


async def _logout(domain: str, authfile: Path | None, output: Output) -> None:
    # Imported here for `layerkit --help`'s sake, as in the environment.
    from layerkit.remote.logins import erase_login, login_files  # noqa: PLC0415

    erased = [path for path in login_files(os.environ, authfile) if await erase_login(path, domain)]
    for path in erased:
        output.note(f"logged out of {domain}: forgotten in {path}")
    if not erased:
        output.note(f"not logged in to {domain}")
