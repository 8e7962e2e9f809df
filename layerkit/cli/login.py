"""`layerkit login`."""

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import click

from layerkit.cli.environment import Access, RegistryType, access_options, check_login
from layerkit.cli.output import Output, output_options
from layerkit.oci.errors import Unauthorized
from layerkit.oci.reference import Reference

if TYPE_CHECKING:
    from layerkit.remote.auth import Credentials


def _refuse_password(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None and not ctx.resilient_parsing:
        raise click.BadParameter(
            "a password on the command line is seen by everybody on this machine: use --password-stdin.", ctx, param
        )


@click.command()
@click.argument("registry", type=RegistryType(), metavar="HOST")
@click.option("-u", "--username", metavar="USER", help="Who you are; by default you are asked.")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin, and ask nothing.")
@click.option("-p", "--password", hidden=True, expose_value=False, callback=_refuse_password)
@access_options
@output_options
def login(registry: Reference, *, username: str | None, password_stdin: bool, access: Access, output: Output) -> None:
    """Log in to a registry: check a user name and password there, and keep them where docker and podman do.

    They are kept in the file of --authfile or REGISTRY_AUTH_FILE, else in the one that knows the registry already,
    else in ~/.docker/config.json, or by the credential helper that the file names.

    \b
    layerkit login registry.example
    layerkit login -u alice --password-stdin localhost:5000 < password
    """
    # Imported here for `layerkit --help`'s sake, as in the environment.
    from layerkit.remote.auth import Credentials  # noqa: PLC0415

    credentials = Credentials(*_ask(username, from_stdin=password_stdin))
    asyncio.run(_login(registry, credentials, access, output))


async def _login(registry: Reference, credentials: "Credentials", access: Access, output: Output) -> None:
    from layerkit.remote.credentials import find_credentials, read_sources  # noqa: PLC0415 - as above
    from layerkit.remote.logins import choose_file, keep_login  # noqa: PLC0415

    domain = registry.domain
    path = choose_file(os.environ, access.authfile, domain)
    try:
        was_asked = await check_login(registry, credentials, access)
    except Unauthorized as error:
        raise Unauthorized(f"{domain} does not take this user name and password ({error.message})") from error
    if not was_asked:
        output.warn(f"{domain} does not ask who you are: the password was not checked")
    place = await keep_login(path, domain, credentials)
    output.note(f"logged in to {domain} as {credentials.username}: kept in {place}")
    if place == str(path):
        output.note("the password is not encrypted there; a credential helper would do that")
    found = await find_credentials(registry, read_sources(os.environ, access.authfile))
    if found != credentials:
        output.warn(f"other credentials for {domain} come first: DOCKER_AUTH_CONFIG, or a file named by a variable")


def _ask(username: str | None, *, from_stdin: bool) -> tuple[str, str]:
    if from_stdin:
        if not username:
            raise click.UsageError("--password-stdin needs -u USER.")
        # As one types it, or as `echo` sends it.
        password = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    elif not sys.stdin.isatty():
        raise click.UsageError("no terminal to ask on: give -u USER and --password-stdin.")
    else:
        username = username or click.prompt("Username", err=True)
        password = click.prompt("Password", hide_input=True, err=True)
    if not password:
        raise click.UsageError("the password is empty.")
    if ":" in (username or ""):
        raise click.UsageError("a user name has no colon.")
    return username or "", password
