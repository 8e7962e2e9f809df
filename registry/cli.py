"""`layerkit registry ...`: the registry's own commands. They alone read its environment."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from layerkit.document.problem import InvalidValue
from registry.app import StartError, open_index, serve
from registry.config import Address, Configuration, parse_address
from registry.config.load import load_configuration
from registry.config.shape import ConfigurationFile, parse_user_name
from registry.logs import configure_logging
from registry.metadata import users
from registry.metadata.database import Database
from registry.systemd import inherited_sockets, notify
from registry.tls import make_context

T = TypeVar("T")

LONGEST_PASSWORD: Final = 1024


class _AddressType(click.ParamType[Address]):
    name = "address"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        if isinstance(value, Address):
            return value
        try:
            return parse_address(str(value))
        except InvalidValue as error:
            self.fail(f"{error.message}; {error.hint}", param, ctx)


@click.group()
def registry() -> None:
    """Run a registry of your own: docker, podman, skopeo, buildah and layerkit push to it and pull from it."""


@registry.command("serve")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Folder of its data.")
@click.option(
    "--listen", type=_AddressType(), metavar="HOST:PORT", help="Address to listen on.  [default: 127.0.0.1:5000]"
)
@click.option("--workers", type=click.IntRange(1, 64), metavar="N", help="Processes that serve it.  [default: 1]")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Configuration (YAML).")
@click.option("-q", "--quiet", is_flag=True, help="Log failures alone.")
def serve_command(
    root: Path | None, listen: Address | None, workers: int | None, config: Path | None, *, quiet: bool
) -> None:
    """Serve until SIGTERM or Ctrl-C, and let running requests end.

    \b
    layerkit registry serve                            127.0.0.1:5000, data in ~/.local/share/layerkit/registry
    layerkit registry serve --listen 0.0.0.0:5000      for others too; `auth:` in the configuration asks who they are
    layerkit registry serve --config registry.yaml --workers 2
    """
    configuration = load_configuration(
        config,
        environment=os.environ,
        default_root=_default_root(),
        root=root,
        listen=listen,
        workers=workers,
    )
    configure_logging(as_json=configuration.log_format == "json", level="warning" if quiet else configuration.log_level)
    try:
        asyncio.run(
            serve(configuration, lambda address: _announce(address, configuration), inherited_sockets(os.environ))
        )
    except StartError as error:
        raise click.ClickException(str(error)) from error


@registry.group("config")
def config_group() -> None:
    """Check a configuration file, or show what may stand in one."""


@config_group.command("check")
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE")
def check_command(path: Path) -> None:
    """Check a configuration file, with the environment's variables above it, and the files that it names; show what
    it means."""
    configuration = load_configuration(path, environment=os.environ, default_root=_default_root())
    if configuration.users is not None and configuration.users.htpasswd is not None:
        from registry.auth.htpasswd import HtpasswdFile  # noqa: PLC0415 - see _take_password

        HtpasswdFile(configuration.users.htpasswd)
    if configuration.tls is not None:
        make_context(configuration.tls)
    shown = json.loads(configuration.to_json())
    if shown["redirect"]:
        shown["redirect"]["secret"] = "(hidden)"  # noqa: S105 - not one
    click.echo(json.dumps(shown, indent=2))


@config_group.command("schema")
def schema_command() -> None:
    """Show the JSON Schema of a configuration file, for editors."""
    click.echo(json.dumps(ConfigurationFile.model_json_schema(), indent=2))


class _UserName(click.ParamType[str]):
    name = "name"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return parse_user_name(str(value))
        except InvalidValue as error:
            self.fail(f"{error.message}; {error.hint}", param, ctx)


_Command = TypeVar("_Command", bound=Callable[..., object])


def _of_a_registry(command: _Command) -> _Command:
    """The options that say whose users are meant."""
    command = click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Its configuration.")(
        command
    )
    return click.option(
        "--root", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Folder of its data."
    )(command)


def _with_password(command: _Command) -> _Command:
    command = click.option("--generate", is_flag=True, help="Make a password, and print it.")(command)
    return click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")(command)


@registry.group("users")
def users_group() -> None:
    """Users that the registry keeps itself, for a configuration with `auth:`. A running registry sees changes at once.

    \b
    layerkit registry users add ann
    layerkit registry users add ci --generate
    layerkit registry users passwd ann --password-stdin < new-password
    """


@users_group.command("add")
@click.argument("name", type=_UserName())
@_with_password
@_of_a_registry
def add_user_command(
    name: str, root: Path | None, config: Path | None, *, password_stdin: bool, generate: bool
) -> None:
    """Add a user, whose password is asked for on the terminal, unless an option says otherwise."""
    password = _take_password(password_stdin=password_stdin, generate=generate)
    stored = _hash(password)
    if not _write(root, config, lambda queries: users.add_user(queries, name, stored, now=int(time.time()))):
        raise click.ClickException(f"there is a user {name!r} already: `layerkit registry users passwd {name}`")
    if generate:
        click.echo(password)
    click.echo(f"added {name}", err=True)


@users_group.command("passwd")
@click.argument("name", type=_UserName())
@_with_password
@_of_a_registry
def passwd_command(name: str, root: Path | None, config: Path | None, *, password_stdin: bool, generate: bool) -> None:
    """Give a user another password. Whoever is logged in with the old one has to log in again."""
    password = _take_password(password_stdin=password_stdin, generate=generate)
    stored = _hash(password)
    if not _write(root, config, lambda queries: users.set_password(queries, name, stored, now=int(time.time()))):
        raise click.ClickException(f"there is no user {name!r}: `layerkit registry users list` shows all")
    if generate:
        click.echo(password)
    click.echo(f"changed the password of {name}", err=True)


@users_group.command("remove")
@click.argument("name", type=_UserName())
@_of_a_registry
def remove_user_command(name: str, root: Path | None, config: Path | None) -> None:
    """Remove a user. Tokens that were given out before stay good for their lifetime, 15 minutes by default."""
    if not _write(root, config, lambda queries: users.remove_user(queries, name)):
        raise click.ClickException(f"there is no user {name!r}: `layerkit registry users list` shows all")
    click.echo(f"removed {name}", err=True)


@users_group.command("list")
@_of_a_registry
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="Default: text.")
def list_users_command(root: Path | None, config: Path | None, form: str) -> None:
    """List the users."""
    found = _run(root, config, users.list_users)
    if form == "json":
        shown = [
            {"name": user.name, "created": _tell(user.created_at), "changed": _tell(user.changed_at)} for user in found
        ]
        click.echo(json.dumps(shown, indent=2))
        return
    width = max((len(user.name) for user in found), default=0)
    for user in found:
        click.echo(f"{user.name:<{width}}  since {_tell(user.created_at)}  password of {_tell(user.changed_at)}")


def _tell(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _take_password(*, password_stdin: bool, generate: bool) -> str:
    """The password that the user is to have."""
    from registry.auth.password import make_password  # noqa: PLC0415 - serving may need no passwords

    if password_stdin and generate:
        raise click.UsageError("--password-stdin and --generate exclude each other")
    if generate:
        return make_password()
    if password_stdin:
        password = _read_line()
    elif sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        raise click.UsageError("no terminal to ask for the password: use --password-stdin or --generate")
    if not 0 < len(password) <= LONGEST_PASSWORD:
        raise click.UsageError(f"a password has 1 to {LONGEST_PASSWORD} characters, this one {len(password)}")
    return password


def _read_line() -> str:
    try:
        line = sys.stdin.buffer.readline(8 * LONGEST_PASSWORD).decode()
    except UnicodeDecodeError:
        raise click.UsageError("the password on standard input is not UTF-8") from None
    return line.removesuffix("\n").removesuffix("\r")


def _hash(password: str) -> str:
    from registry.auth.password import hash_password  # noqa: PLC0415 - see _take_password

    return hash_password(password)


def _write(root: Path | None, config: Path | None, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
    return _run(root, config, lambda database: database.write(work))


def _run(root: Path | None, config: Path | None, work: Callable[[Database], Coroutine[Any, Any, T]]) -> T:
    configuration = load_configuration(config, environment=os.environ, default_root=_default_root(), root=root)

    async def run() -> T:
        async with open_index(configuration.root) as database:
            return await work(database)

    try:
        return asyncio.run(run())
    except StartError as error:
        raise click.ClickException(str(error)) from error


def _default_root() -> Path:
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "share") / "layerkit" / "registry"


def _announce(address: str, configuration: Configuration) -> None:
    scheme = "http" if configuration.tls is None else "https"
    click.echo(f"registry listening on {scheme}://{address}, data in {configuration.root}", err=True)
    notify(os.environ, "READY=1")
