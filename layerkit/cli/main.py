"""`layerkit`: the commands, each imported only when it runs, and the one place where errors become text.

Exit codes: 0 done, 1 failed, 2 wrong usage or a wrong spec, 130 interrupted.
"""

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Final

import click

from layerkit import __version__

# Name -> module, attribute, and the help of the command list, so that the list imports no command.
_COMMANDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "build": ("layerkit.cli.build", "build", "Build the image that a spec file describes."),
    "push": ("layerkit.cli.push", "push", "Push an image of the local store to its registry."),
    "pull": ("layerkit.cli.pull", "pull", "Pull an image into the local store."),
    "images": ("layerkit.cli.images", "images", "List the images of the local store."),
    "inspect": ("layerkit.cli.inspect", "inspect", "Show the manifest, layers and config of an image."),
    "registry": ("registry.cli", "registry", "Run a registry of your own."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the base class's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            import difflib  # noqa: PLC0415 - only a mistake needs it

            close = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="layerkit")
def cli() -> None:
    """Build container images from a spec file, without a daemon and without root, and move them between
    registries.

    \b
    Start here:
      layerkit registry serve                  a registry on 127.0.0.1:5000
      layerkit build -f specs/hello/layerkit.yaml -t localhost:5000/hello --push
      docker run -p 8080:8080 localhost:5000/hello
    """


def main() -> None:
    """The console script."""
    if sys.getfilesystemencoding().lower() != "utf-8":
        # An image's paths are UTF-8 whatever the locale of whoever builds it.
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "PYTHONUTF8": "1"})  # noqa: S606 - this very program
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except Exception as error:
        text = _explain(error)
        if text is None:
            raise
        message, code = text
        click.echo(message, err=True)
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: Exception) -> tuple[str, int] | None:
    """What to print for an error that has a cause outside this program, and the exit code."""
    from layerkit.document.problem import DocumentError  # noqa: PLC0415 - see _COMMANDS
    from layerkit.layer.errors import LayerError  # noqa: PLC0415
    from layerkit.oci.errors import OCIError  # noqa: PLC0415

    if isinstance(error, DocumentError):
        return error.render(), 2
    if isinstance(error, (OCIError, LayerError)):
        return f"error: {error}", 1
    if isinstance(error, OSError):
        return f"error: {error.filename or 'the system'}: {(error.strerror or str(error)).lower()}", 1
    return None
