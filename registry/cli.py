"""`layerkit registry ...`: the registry's own commands. They alone read its environment."""

import asyncio
import json
import os
from pathlib import Path

import click

from layerkit.document.problem import InvalidValue
from registry.app import StartError, serve
from registry.config import (
    Address,
    Configuration,
    ConfigurationFile,
    load_configuration,
    parse_address,
)
from registry.logs import configure_logging
from registry.systemd import inherited_sockets, notify


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
    layerkit registry serve --listen 0.0.0.0:5000      for others too: there are no users and passwords yet
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
    """Check a configuration file, with the environment's variables above it, and show what it means."""
    configuration = load_configuration(path, environment=os.environ, default_root=_default_root())
    click.echo(json.dumps(json.loads(configuration.to_json()), indent=2))


@config_group.command("schema")
def schema_command() -> None:
    """Show the JSON Schema of a configuration file, for editors."""
    click.echo(json.dumps(ConfigurationFile.model_json_schema(), indent=2))


def _default_root() -> Path:
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "share") / "layerkit" / "registry"


def _announce(address: str, configuration: Configuration) -> None:
    click.echo(f"registry listening on http://{address}, data in {configuration.root}", err=True)
    notify(os.environ, "READY=1")
