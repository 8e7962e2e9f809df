"""`layerkit`: the commands, each imported only when it runs, and the one place where errors become text.

Exit codes: 0 done, 1 failed, 2 wrong usage or a wrong spec, 130 interrupted.
"""

import gc
import importlib
import os
import sys
from collections.abc import Mapping
from typing import Final

import click

from layerkit import __version__
from layerkit.cli.voice import ReaderGone, Voice, forgive_encodings

# Name -> module, attribute, and the help of the command list, so that the list imports no command.
_COMMANDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "init": ("layerkit.cli.init", "init", "Write a first spec for the project in a folder."),
    "build": ("layerkit.cli.build", "build", "Build the image that a spec file describes."),
    "plan": ("layerkit.cli.plan", "plan", "Show what a build would write, and where it comes from."),
    "explain": ("layerkit.cli.explain", "explain", "Show why layers are not those of the last build."),
    "lock": ("layerkit.cli.lock", "lock", "Write down what the remote things of a spec are."),
    "push": ("layerkit.cli.push", "push", "Push an image of the local store to its registry."),
    "pull": ("layerkit.cli.pull", "pull", "Pull an image into the local store."),
    "copy": ("layerkit.cli.copy", "copy", "Copy an image from any place to any other."),
    "save": ("layerkit.cli.save", "save", "Save images of the local store to an archive."),
    "load": ("layerkit.cli.load", "load", "Load the images of an archive into the local store."),
    "tag": ("layerkit.cli.tag", "tag", "Give an image of the local store another name."),
    "rm": ("layerkit.cli.rm", "rm", "Remove images."),
    "prune": ("layerkit.cli.prune", "prune", "Free what no image of the local store needs."),
    "cache": ("layerkit.cli.cache", "cache", "Show or free what builds remember."),
    "login": ("layerkit.cli.login", "login", "Log in to a registry."),
    "logout": ("layerkit.cli.logout", "logout", "Forget the login of a registry."),
    "images": ("layerkit.cli.images", "images", "List the images of the local store."),
    "inspect": ("layerkit.cli.inspect", "inspect", "Show the manifest, layers and config of an image."),
    "ls": ("layerkit.cli.ls", "ls", "List the files of an image."),
    "history": ("layerkit.cli.history", "history", "Show how an image came about."),
    "sbom": ("layerkit.cli.sbom", "sbom", "Show the bill of materials of an image."),
    "diff": ("layerkit.cli.diff", "diff", "Show what sets two images apart."),
    "schema": ("layerkit.cli.schema", "schema", "Print the JSON Schema of the build spec, for editors."),
    "registry": ("registry.cli", "registry", "Run a registry of your own."),
    "completion": ("layerkit.cli.completion", "completion", "Print the completions of a shell."),
}
_SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "Build images": ("init", "build", "plan", "explain", "lock", "cache", "schema"),
    "Look into images": ("images", "inspect", "ls", "history", "diff", "sbom"),
    "Move images": ("push", "pull", "copy", "save", "load", "tag", "rm", "prune", "login", "logout"),
    "Run a registry": ("registry",),
}
"""What the list of commands is grouped by; what is in none comes last."""
_ALLOCATIONS: Final = 200_000
"""Between two collections of what is in cycles; Python's own number is 700."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the base class's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        if module.startswith("layerkit."):
            # A registry runs for long, all else makes values without cycles and ends: imports, the plan of many files.
            gc.set_threshold(_ALLOCATIONS)
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        listed = {name for names in _SECTIONS.values() for name in names}
        sections = {**_SECTIONS, "More": tuple(name for name in _COMMANDS if name not in listed)}
        width = max(map(len, _COMMANDS))
        for title, names in sections.items():
            rows = [(name.ljust(width), _COMMANDS[name][2]) for name in names if name in _COMMANDS]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            import difflib  # noqa: PLC0415 - only a mistake needs it

            close = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f": did you mean {close[0]!r}?" if close else ""
            ctx.fail(f"No such command {args[0]!r}{hint}")
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
    forgive_encodings()
    voice = Voice()
    try:
        code = cli.main(prog_name="layerkit", standalone_mode=False, obj=voice)
    except ReaderGone:
        code = 1
    except (click.exceptions.Abort, KeyboardInterrupt):
        voice.error("interrupted", bare=True)
        code = 130
    except click.exceptions.NoArgsIsHelpError as error:
        # Whoever asks for nothing is told what there is.
        error.show()
        code = error.exit_code
    except Exception as error:
        told = tell(error, voice)
        if told is None:
            raise
        code = told
    try:
        # What is left in it fails here, and not in a traceback at the very end.
        sys.stdout.flush()
    except (AttributeError, OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    # Else the interpreter looks for cycles in all there is once more, on the way to giving it back.
    gc.freeze()
    sys.exit(code if isinstance(code, int) else 0)


def tell(error: Exception, voice: Voice) -> int | None:
    """Tell of what made a command fail; the answer is the exit code. None for a mistake of this program."""
    if isinstance(error, click.ClickException):
        voice.error(_tidy(error.format_message()), _usage(error))
        return error.exit_code
    return _tell(_first(error), voice)


def _tidy(message: str) -> str:
    """A message of click, in the style of ours: it begins small and ends without a full stop."""
    message = message.removesuffix(".")
    return message[:1].lower() + message[1:] if message[1:2].islower() else message


def _usage(error: click.ClickException) -> str:
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return ""
    return f"{error.ctx.command_path} --help"


def _first(error: Exception) -> Exception:
    """Of several that happened at once the first: the others follow from it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _tell(error: Exception, voice: Voice) -> int | None:
    """Tell of an error that has its cause outside this program; the answer is the exit code."""
    from layerkit.document.problem import DocumentError  # noqa: PLC0415 - see _COMMANDS
    from layerkit.layer.errors import LayerError  # noqa: PLC0415
    from layerkit.oci.errors import OCIError  # noqa: PLC0415

    if isinstance(error, DocumentError):
        voice.error(error.render(), bare=True)
        return 2
    if isinstance(error, (OCIError, LayerError)):
        voice.error(str(error))
        return 1
    if isinstance(error, OSError):
        names = " and ".join(str(name) for name in (error.filename, error.filename2) if name)
        voice.error(f"{names or 'the system'}: {(error.strerror or str(error)).lower()}")
        return 1
    if isinstance(error, MemoryError):
        voice.error("out of memory")
        return 1
    return None
