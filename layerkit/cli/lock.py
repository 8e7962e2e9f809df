"""`layerkit lock`."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from layerkit.cli.environment import (
    Access,
    access_options,
    make_builder,
)
from layerkit.cli.output import Output, StepLog, format_json, format_option, output_options
from layerkit.cli.spec_file import FILE_OPTION, VARIABLE_OPTION, open_spec, platform_option
from layerkit.files import replace_file
from layerkit.oci.platform import Platform
from layerkit.packages.lock import NO_LOCK, LayerKey, Lock, format_lock, load_lock, lock_path
from layerkit.packages.relock import Change, Kind, compare_locks, outdate
from layerkit.spec.load import DEFAULT_FILE

_PACKAGES: Final = {Kind.DEB: "Debian package", Kind.WHEEL: "wheel"}


@click.command()
@click.argument("names", nargs=-1, type=str, metavar="[NAME]...")
@FILE_OPTION
@click.option("--upgrade", is_flag=True, help="Look up what is locked anew: all of it, or what is named.")
@click.option("--check", is_flag=True, help="See whether the lock is complete, and write nothing.")
@platform_option("Lock for")
@VARIABLE_OPTION
@access_options
@format_option
@output_options
def lock(
    names: tuple[str, ...],
    path: str,
    *,
    upgrade: bool,
    check: bool,
    platforms: tuple[Platform, ...],
    variables: tuple[str, ...],
    access: Access,
    form: str,
    output: Output,
) -> None:
    """Write down what the remote things of a spec are now, so that each build takes the same: base images by their
    digests, files from the web by their content, packages by version and content.

    The lock, layerkit.lock for layerkit.yaml, is kept with the spec. What is in it stays as it is; what is missing is
    added, and what the spec no longer asks for goes.

    \b
    layerkit lock                               what is missing
    layerkit lock --upgrade                     all as it is today
    layerkit lock --upgrade debian:trixie curl  a base image, and a package
    layerkit lock --check                       for CI: fails unless the lock is complete
    layerkit build --locked                     builds from the lock, or not at all
    """
    place = lock_path(Path(path))
    if place == Path(path):
        raise click.UsageError(f"-f {path}: a file of this name would be its own lock; call it {DEFAULT_FILE}.")
    if names and not upgrade:
        raise click.UsageError(f"{' '.join(names)}: names say what to --upgrade; without it the whole file is locked.")
    if upgrade and check:
        raise click.UsageError("--upgrade and --check exclude each other.")
    file = open_spec(path, variables, platforms)
    before = load_lock(place)
    known = _outdate(before, names, place) if upgrade else before
    builder = make_builder(access, StepLog(output, verb="pulled"), lock=known, is_locked=check)
    after = asyncio.run(builder.resolve(file.select()))
    changes = compare_locks(before, after)
    if check:
        _refuse(changes, place)
        output.note(f"{place}: complete")
        return
    text = format_lock(after)
    if after == NO_LOCK and before == NO_LOCK:
        output.note(f"{path} names nothing that has to be locked")
    elif before == NO_LOCK or text != format_lock(before):
        replace_file(place.resolve(), text.encode())
        output.note(f"wrote {place}")
    else:
        output.note(f"{place}: nothing has changed")
    if form == "json":
        output.answer(format_json({"lock": str(place), "changes": [_as_json(change) for change in changes]}))
    elif changes:
        output.answer("\n".join(_as_text(changes)))


def _outdate(before: Lock, names: Sequence[str], place: Path) -> Lock:
    if not names:
        return NO_LOCK
    try:
        return outdate(before, names)
    except KeyError as error:
        raise click.UsageError(
            f"{error.args[0]}: nothing in {place} is called so; name a base, a URL or a package as it is there."
        ) from None


def _refuse(changes: Sequence[Change], place: Path) -> None:
    """What is missing has been refused by now."""
    if changes:
        what = "\n".join(f"  {line}" for line in _as_text(changes))
        raise click.ClickException(f"{place} has what the spec does not ask for: run `layerkit lock`\n{what}")


def _as_text(changes: Sequence[Change]) -> Iterator[str]:
    """A line for each change; packages that come with their layer are counted."""
    added = Counter((change.kind, change.where) for change in changes if not change.before)
    for change in changes:
        if not change.before and change.where is not None:
            count = added.pop((change.kind, change.where), 0)
            if count:
                what = _PACKAGES[change.kind]
                yield f"+ {count} {what if count == 1 else f'{what}s'}: {change.where}"
        elif not change.before:
            yield f"+ {change.kind} {change.name} {change.after}"
        elif not change.after:
            yield f"- {change.kind} {change.name} {change.before}{_where(change.where)}"
        else:
            yield f"~ {change.kind} {change.name} {change.before} -> {change.after}{_where(change.where)}"


def _where(key: LayerKey | None) -> str:
    return f": {key}" if key is not None else ""


def _as_json(change: Change) -> dict[str, object]:
    described: dict[str, object] = {"kind": change.kind, "name": change.name}
    described |= {"before": change.before or None, "after": change.after or None}
    if change.where is not None:
        where = change.where
        described |= {"image": where.image, "layer": where.layer, "platform": str(where.platform)}
    return described
