"""`layerkit build`."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from layerkit.build.bounds import trim
from layerkit.build.builder import Builder
from layerkit.build.built import BuildResult
from layerkit.build.record import Records
from layerkit.cli.environment import (
    Access,
    ReferenceType,
    access_options,
    cache_size,
    data_folder,
    make_builder,
)
from layerkit.cli.order import Order, carry_out
from layerkit.cli.output import Output, StepLog, format_json, format_option, output_options
from layerkit.cli.results import describe_metadata, describe_result
from layerkit.cli.spec_file import FILE_OPTION, VARIABLE_OPTION, open_spec, platform_option
from layerkit.document.problem import DocumentError
from layerkit.oci.platform import Platform
from layerkit.oci.reference import (
    Reference,
    has_explicit_domain,
    parse_reference,
)
from layerkit.packages.lock import load_lock, lock_path
from layerkit.sbom.bill import BillFormat
from layerkit.spec.load import DEFAULT_FILE
from layerkit.spec.model import ImageSpec, SpecFile

if TYPE_CHECKING:
    from layerkit.cli.outputs import Place


class _Build(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # What follows `--sbom` is an image of the spec; click takes it for the value, where that may be left out.
        end = args.index("--") if "--" in args else len(args)
        before = [f"--sbom={BillFormat.SPDX}" if argument == "--sbom" else argument for argument in args[:end]]
        return super().parse_args(ctx, [*before, *args[end:]])


@click.command(cls=_Build, epilog="The digest of each image is printed on stdout, all else on stderr.")
@click.argument("names", nargs=-1, type=str, metavar="[IMAGE]...")
@FILE_OPTION
@click.option(
    "-t",
    "--tag",
    "tags",
    multiple=True,
    metavar="REF",
    help="Name of the image; may be repeated. Replaces the spec's `tags:`.",
)
@click.option("--push", is_flag=True, help="Push each image to the registries of its tags.")
@click.option("--load", is_flag=True, help="Load each image into the docker or podman that runs here.")
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="PLACE",
    help="Also write to oci:DIR, oci-archive:FILE or docker-archive:FILE, each with :TAG if wanted.",
)
@platform_option("Build for")
@VARIABLE_OPTION
@click.option("--locked", is_flag=True, help="Build from the lock, which must be complete (`layerkit lock`).")
@click.option(
    "--sbom",
    "bills",
    type=click.Choice([form.value for form in BillFormat]),
    multiple=True,
    metavar="[=FORMAT]",
    help="Put what is in each image beside it, as spdx or as cyclonedx; may be repeated. Without a format: spdx.",
)
@click.option("--provenance", is_flag=True, help="Put what each image was built from beside it, as SLSA provenance.")
@click.option("--watch", is_flag=True, help="Build again whenever something changes that the build reads.")
@click.option("--check", is_flag=True, help="See whether the spec can be built, and write nothing.")
@click.option("--check-repro", is_flag=True, help="Build twice in different conditions, and compare.")
@click.option("--second-time", is_flag=True, hidden=True)
@click.option("--strict", is_flag=True, help="Refuse what may keep an image from working, and is a warning otherwise.")
@click.option("--no-cache", is_flag=True, help="Believe nothing that an earlier build has remembered.")
@click.option(
    "--cache-from",
    "caches",
    multiple=True,
    metavar="REF[,REF]...",
    help="Take layers that other machines have made from these caches of registries.",
)
@click.option("--cache-to", "cache_targets", multiple=True, metavar="REF", help="Write the layers to this cache.")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="NAME=NUMBER",
    help="Take more of bases and archives than usual, by a limit that an error names.",
)
@click.option("--metadata-file", type=click.Path(path_type=Path), metavar="FILE", help="Write what was built, as JSON.")
@click.option("--iidfile", type=click.Path(path_type=Path), metavar="FILE", help="Write the digest of the one image.")
@access_options
@format_option
@output_options
def build(
    names: tuple[str, ...],
    path: str,
    tags: tuple[str, ...],
    *,
    push: bool,
    load: bool,
    outputs: tuple[str, ...],
    platforms: tuple[Platform, ...],
    variables: tuple[str, ...],
    locked: bool,
    bills: tuple[str, ...],
    provenance: bool,
    watch: bool,
    check: bool,
    check_repro: bool,
    second_time: bool,
    strict: bool,
    no_cache: bool,
    caches: tuple[str, ...],
    cache_targets: tuple[str, ...],
    limits: tuple[str, ...],
    metadata_file: Path | None,
    iidfile: Path | None,
    access: Access,
    form: str,
    output: Output,
) -> None:
    """Build the images that a spec file describes, into the local store: all of them, or those that are named.

    \b
    layerkit build                                          all of ./layerkit.yaml
    layerkit build web -t registry.example/acme/web:1 --push
    layerkit build --platform linux/amd64 --platform linux/arm64
    layerkit build --load && docker run web
    layerkit build -o oci:out -o oci-archive:web.tar        also write a layout and an archive
    layerkit build --check                                  only see whether all is right
    layerkit build --watch --load                           again after each change
    layerkit build --cache-from registry.example/acme/web:cache --cache-to registry.example/acme/web:cache
    """
    _refuse_folder(name for name in names if "/" in name or name in {".", ".."})
    places = _parse_places(outputs)
    if watch:
        written = [place.where.path for place in places]
        written += [each for each in (metadata_file, iidfile) if each is not None]
        _watch(path, variables, platforms, names, written, output)
        return
    if no_cache and caches:
        raise click.UsageError("--no-cache and --cache-from contradict each other.")
    cache_from, cache_to = _parse_caches("--cache-from", caches), _parse_caches("--cache-to", cache_targets)
    file = open_spec(path, variables, platforms, is_cached=not no_cache)
    _refuse_folder(name for name in names if Path(name).is_dir() and name not in {image.name for image in file.images})
    selected = file.select(names)
    wanted = tuple(image for image in selected if not names or image.name in names)
    named = next((place for place in places if place.where.reference is not None), None)
    if (tags or iidfile or named) and len(wanted) != 1:
        flag = "-t" if tags else "--iidfile" if iidfile else f"-o {named.text}" if named else ""
        raise click.UsageError(f"{flag} is for one image, and {len(wanted)} are built: name the one.")
    references = {image.name: _references(image, tags, push=push) for image in wanted}
    builder = make_builder(
        access,
        StepLog(output, verb="pulled"),
        is_cached=not no_cache,
        is_strict=strict,
        backwards=second_time,
        limits=_parse_limits(limits),
        lock=load_lock(lock_path(Path(path))),
        is_locked=locked,
    )
    if check:
        _check(builder, file, selected, output)
        return
    most_cached = cache_size()
    for image in selected:
        output.note(f"building {image.name} for {', '.join(map(str, image.platforms))}")
    output.expect([spec.label for image in selected for spec in image.specs])
    again: list[str] | None = None
    if check_repro:
        again = [*names, "-f", path, *(text for pair in variables for text in ("--var", pair))]
        again += ["--locked"] if locked else []
        again += [text for platform in platforms for text in ("--platform", str(platform))]
    order = Order(
        selected=selected,
        references=references,
        places=places,
        push=push,
        load=load,
        access=access,
        again=again,
        cache_from=cache_from,
        cache_to=cache_to,
        bills=frozenset(map(BillFormat, bills)),
        provenance=Path(path) if provenance else None,
    )
    results, attached = asyncio.run(carry_out(order, builder, output))
    described = [describe_result(result, references[result.spec.name], attached) for result in results]
    _keep_records(Path(path), results, output)
    trim(builder.cache, most_cached, time.time())
    if metadata_file is not None:
        metadata_file.write_text(f"{format_json(describe_metadata(results, references))}\n")
    if iidfile is not None:
        iidfile.write_text(results[0].manifest.digest)
    if form == "json":
        output.answer(format_json({"images": described}))
    else:
        output.answer("\n".join(result.manifest.digest for result in results))


def _watch(
    path: str,
    variables: tuple[str, ...],
    platforms: tuple[Platform, ...],
    names: tuple[str, ...],
    outputs: Sequence[Path],
    output: Output,
) -> None:
    """Do what this command does, and again whenever something changes."""
    from layerkit.build.watched import Watched, watched_by  # noqa: PLC0415 - see _parse_places
    from layerkit.cli.watch import watch_builds  # noqa: PLC0415

    context = click.get_current_context()
    images: Sequence[ImageSpec] = ()

    def find() -> Watched:
        nonlocal images
        # Of a spec that is wrong just now, or gone, the last good one says where to look.
        with suppress(DocumentError, OSError):
            images = open_spec(path, variables, platforms).select(names)
        return watched_by(images, Path(path), [lock_path(Path(path))], outputs)

    watch_builds(lambda: context.invoke(build, **{**context.params, "watch": False}), find, output)


def _parse_places(outputs: Sequence[str]) -> "list[Place]":
    if not outputs:
        # A build that changes nothing takes little longer than its imports: what few of them need waits until then.
        return []
    from layerkit.cli.outputs import parse_place  # noqa: PLC0415

    return [parse_place(text) for text in outputs]


def _parse_caches(option: str, texts: Sequence[str]) -> list[Reference]:
    if not texts:
        return []
    from layerkit.cli.caches import parse_caches  # noqa: PLC0415 - see _parse_places

    return parse_caches(option, texts)


def _keep_records(path: Path, results: Sequence[BuildResult], output: Output) -> None:
    records = Records(data_folder() / "builds")
    try:
        for result in results:
            records.keep(path, result, now=int(time.time()))
    except OSError as error:
        # The images are there: that a later `layerkit explain` knows less is no reason to fail.
        output.warn(f"what was built cannot be remembered for `layerkit explain`: {error.strerror}")


def _check(builder: Builder, file: SpecFile, selected: Sequence[ImageSpec], output: Output) -> None:
    for plan in asyncio.run(builder.plan(selected)):
        for warning in plan.warnings:
            output.warn(warning)
        layers = "1 layer" if len(plan.layers) == 1 else f"{len(plan.layers)} layers"
        output.note(f"{file.path}: {plan.spec.name} for {plan.spec.platform}: {layers}, as it should be")


def _references(image: ImageSpec, tags: tuple[str, ...], *, push: bool) -> tuple[Reference, ...]:
    """The names of an image: those of the command line, else the spec's, else its own name."""
    parse = ReferenceType()
    named = tuple(parse.convert(tag, None, None) for tag in tags) or image.tags
    if push and not named:
        raise click.UsageError(
            f"--push needs a name with a registry for {image.name}: -t HOST/NAME:TAG, or `tags:` in the spec."
        )
    for text in (tags or _tags_as_written(image)) if push else ():
        if not has_explicit_domain(text):
            raise click.UsageError(f"--push: {text} does not name its registry; write HOST/{text}.")
    for reference in named:
        if reference.digest is not None:
            raise click.UsageError(f"{reference} names a digest; an image that is yet to be built has a tag alone.")
    return tuple(reference.with_default_tag() for reference in named or (parse_reference(image.name),))


def _tags_as_written(image: ImageSpec) -> list[str]:
    values = image.specs[0].document.values
    tags = values.get("tags") if isinstance(values, dict) else None
    return [str(tag) for tag in tags] if isinstance(tags, list) else []


def _refuse_folder(names: Iterable[str]) -> None:
    """Who comes from another builder names the context, which here is the folder of the spec."""
    for name in names:
        file = f"{name.rstrip('/')}/{DEFAULT_FILE}"
        raise click.UsageError(
            f"{name!r} is no image of the spec. The spec is named with -f, like -f {file}; its folder is the context."
        )


def _parse_limits(limits: tuple[str, ...]) -> dict[str, int]:
    from layerkit.layer.limits import Limits  # noqa: PLC0415 - few builds need others

    known = Limits.__struct_fields__
    parsed = {}
    for limit in limits:
        name, _, number = limit.partition("=")
        if name not in known or not (number.isascii() and number.isdigit() and len(number) <= 15):
            raise click.UsageError(f"--limit {limit}: expected NAME=NUMBER, and one of the names {', '.join(known)}.")
        parsed[name] = int(number)
    return parsed
