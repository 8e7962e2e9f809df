"""`layerkit init`."""

from pathlib import Path

import click

from layerkit.cli.output import Output
from layerkit.spec.load import DEFAULT_FILE
from layerkit.spec.starter import DOCKERIGNORE, start_spec


@click.command(epilog="What it writes can be built at once, or says in a comment what to do before.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path())
@click.option("--force", is_flag=True, help="Replace a layerkit.yaml that is there.")
def init(folder: Path, *, force: bool) -> None:
    """Write a first spec for the project in a folder, and a .dockerignore where there is none.

    \b
    layerkit init                 looks at the current folder
    layerkit init ./service
    """
    output = Output(quiet=False)
    path = folder / DEFAULT_FILE
    if path.exists() and not force:
        raise click.UsageError(f"{path} is there already: --force replaces it.")
    starter = start_spec(folder)
    path.write_text(starter.spec)
    output.answer(f"wrote {path}: {starter.kind}")
    ignore = folder / ".dockerignore"
    if not ignore.exists():
        ignore.write_text(DOCKERIGNORE)
        output.answer(f"wrote {ignore}")
    output.note(f"next: layerkit build{'' if folder == Path() else f' -f {path}'}")
