"""`layerkit registry ...`: the registry's own commands."""

import asyncio
import logging
import os
from pathlib import Path

import click

from layerkit.document.problem import InvalidValue
from registry.app import StartError, serve
from registry.config import Configuration, load_configuration, parse_address


@click.group()
def registry() -> None:
    """Run a registry of your own: docker, podman, skopeo, buildah and layerkit push to it and pull from it."""


@registry.command("serve")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Folder of its data.")
@click.option("--listen", metavar="HOST:PORT", help="Address to listen on.  [default: 127.0.0.1:5000]")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Configuration (YAML).")
@click.option("-q", "--quiet", is_flag=True, help="Do not log requests.")
def serve_command(root: Path | None, listen: str | None, config: Path | None, *, quiet: bool) -> None:
    """Serve until SIGTERM or Ctrl-C, and let running requests end.

    \b
    layerkit registry serve                            127.0.0.1:5000, data in ~/.local/share/layerkit/registry
    layerkit registry serve --listen 0.0.0.0:5000      for others too: there are no users and passwords yet
    """
    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, format="%(message)s")
    try:
        configuration = load_configuration(
            config,
            default_root=_default_root(),
            root=root,
            listen=parse_address(listen) if listen is not None else None,
        )
        asyncio.run(serve(configuration, lambda address: _announce(address, configuration)))
    except InvalidValue as error:
        raise click.UsageError(f"--listen: {error.message}; {error.hint}.") from error
    except StartError as error:
        raise click.ClickException(str(error)) from error


def _default_root() -> Path:
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "share") / "layerkit" / "registry"


def _announce(address: str, configuration: Configuration) -> None:
    click.echo(f"registry listening on http://{address}, data in {configuration.root}", err=True)
