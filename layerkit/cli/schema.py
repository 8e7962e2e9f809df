"""`layerkit schema`."""

import json

import click

from layerkit.cli.output import Output


@click.command(epilog="An editor finds it by the first line of a spec: # yaml-language-server: $schema=PATH")
def schema() -> None:
    """Print the JSON Schema of the build spec, for editors.

    \b
    layerkit schema > layerkit.schema.json
    """
    # Not at the top: pydantic takes 0.1 s, and `layerkit schema --help` needs none of it.
    from layerkit.spec.schema import build_schema  # noqa: PLC0415

    Output(quiet=False).answer(json.dumps(build_schema(), indent=2, ensure_ascii=False))
