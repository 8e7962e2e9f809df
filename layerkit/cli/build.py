"""`layerkit build`."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click

from layerkit.build.builder import Builder, BuiltImage
from layerkit.cli.environment import (
    Access,
    ReferenceType,
    access_options,
    host_platform,
    open_registry,
    open_store,
    source_date_epoch,
)
from layerkit.cli.output import Output, StepLog, output_options
from layerkit.cli.push import push_image
from layerkit.content.layout import Layout
from layerkit.document.problem import DocumentError
from layerkit.oci.errors import TagInvalid
from layerkit.oci.platform import Platform
from layerkit.oci.reference import (
    DEFAULT_TAG,
    Reference,
    RepositoryName,
    Tag,
    has_explicit_domain,
    parse_reference,
    parse_tag,
)
from layerkit.spec.load import DEFAULT_FILE, load_file
from layerkit.spec.model import Spec, SpecFile
from layerkit.transfer import Copy


@click.command(epilog="The digest of the image is printed on stdout, all else on stderr.")
@click.argument("unexpected", nargs=-1, type=str, metavar="")
@click.option("-f", "--file", "path", default=DEFAULT_FILE, show_default=True, metavar="FILE", help="The build spec.")
@click.option(
    "-t",
    "--tag",
    "tags",
    multiple=True,
    metavar="REF",
    help="Name of the image; may be repeated. Replaces the spec's `tags:`.",
)
@click.option("--push", is_flag=True, help="Push the image to the registries of its tags.")
@click.option("-o", "--output", "outputs", multiple=True, metavar="oci:DIR", help="Also write an OCI image layout.")
@click.option("--var", "variables", multiple=True, metavar="NAME=VALUE", help="Set a variable of the spec's `vars:`.")
@access_options
@output_options
def build(
    unexpected: tuple[str, ...],
    path: str,
    tags: tuple[str, ...],
    *,
    push: bool,
    outputs: tuple[str, ...],
    variables: tuple[str, ...],
    access: Access,
    output: Output,
) -> None:
    """Build the image that a spec file describes, into the local store.

    \b
    layerkit build                                          ./layerkit.yaml, named after its folder
    layerkit build -t registry.example/acme/web:1 --push    build and push
    layerkit build -o oci:out                               also write the folder out as an OCI layout
    """
    if unexpected:
        meant = f"{unexpected[0].rstrip('/')}/{DEFAULT_FILE}"
        raise click.UsageError(
            f"Got unexpected argument {unexpected[0]!r}. The spec is named with -f, like -f {meant}."
        )
    folders = [_layout_folder(output) for output in outputs]
    file = load_file(
        path,
        variables=_parse_variables(variables),
        default_platform=host_platform(),
        source_date_epoch=source_date_epoch(),
    )
    spec = _one_spec(file)
    platform = spec.platform
    references = _references(spec, tags, push=push)
    output.answer(asyncio.run(_build(spec, platform, references, folders, output, push=push, access=access)))


async def _build(
    spec: Spec,
    platform: Platform,
    references: tuple[Reference, ...],
    folders: list[tuple[Path, str]],
    output: Output,
    *,
    push: bool,
    access: Access,
) -> str:
    store = open_store(access)
    output.note(f"building {spec.name} for {platform}")
    builder = Builder(
        store=store,
        open_registry=lambda reference: open_registry(reference, access),
        progress=StepLog(output, verb="pulled"),
    )
    built = await builder.build(spec, platform)
    for warning in built.plan.warnings:
        output.warn(warning)
    output.note(f"  {'image':<8} {'':>8}  {built.manifest.digest}")
    for reference in references:
        await store.repository(RepositoryName(reference.name)).put_manifest(built.manifest, [_tag(reference)])
        output.note(f"tagged {reference}")
    for folder, tag in folders:
        names = [parse_reference(f"{references[0].name}:{tag}")] if tag else references
        await _write_layout(store, built, names, folder, output)
    if push:
        for reference in references:
            await push_image(store, reference, output, access)
    return built.manifest.digest


async def _write_layout(
    store: Layout, built: BuiltImage, references: Sequence[Reference], folder: Path, output: Output
) -> None:
    layout = Layout(folder, create=True)
    source = store.repository(RepositoryName(""))
    for reference in references:
        destination = layout.repository(RepositoryName(reference.name))
        await Copy(source=source, destination=destination).image(built.manifest, [_tag(reference)])
        output.note(f"written to oci:{folder}:{_tag(reference)}")


def _tag(reference: Reference) -> Tag:
    return reference.tag or DEFAULT_TAG


def _references(spec: Spec, tags: tuple[str, ...], *, push: bool) -> tuple[Reference, ...]:
    """The names of the image: those of the command line, else the spec's, else its own name."""
    parse = ReferenceType()
    named = tuple(parse.convert(tag, None, None) for tag in tags) or spec.tags
    if push and not named:
        raise click.UsageError("--push needs a name with a registry: -t HOST/NAME:TAG, or `tags:` in the spec.")
    for text in (tags or _tags_as_written(spec)) if push else ():
        if not has_explicit_domain(text):
            raise click.UsageError(f"--push: {text} does not name its registry; write HOST/{text}.")
    for reference in named:
        if reference.digest is not None:
            raise click.UsageError(f"{reference} names a digest; an image that is yet to be built has a tag alone.")
    return tuple(reference.with_default_tag() for reference in named or (parse_reference(spec.name),))


def _tags_as_written(spec: Spec) -> list[str]:
    values = spec.document.values
    tags = values.get("tags") if isinstance(values, dict) else None
    return [str(tag) for tag in tags] if isinstance(tags, list) else []


def _one_spec(file: SpecFile) -> Spec:
    if len(file.images) > 1:
        problem = file.document.problem(
            file.document.locate(("images",), key=True), "several images are not supported yet by this version"
        )
        raise DocumentError([problem])
    specs = file.images[0].specs
    if len(specs) > 1:
        raise specs[0].problem(
            specs[0].locate("platforms"), "several platforms in one build are not supported yet by this version"
        )
    return specs[0]


def _layout_folder(output: str) -> tuple[Path, str]:
    """`oci:DIR` or `oci:DIR:TAG`."""
    kind, colon, rest = output.partition(":")
    if kind != "oci" or not colon or not rest:
        raise click.UsageError(f"-o {output}: expected oci:DIR or oci:DIR:TAG.")
    folder, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        return Path(rest), ""
    if not folder or not tag:
        raise click.UsageError(f"-o {output}: expected oci:DIR or oci:DIR:TAG.")
    try:
        return Path(folder), parse_tag(tag)
    except TagInvalid as error:
        raise click.UsageError(f"-o {output}: {error.message}.") from error


def _parse_variables(variables: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for variable in variables:
        name, equals, value = variable.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--var {variable}: expected NAME=VALUE.")
        pairs[name] = value
    return pairs
