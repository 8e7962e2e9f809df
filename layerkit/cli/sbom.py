"""`layerkit sbom`."""

import asyncio
from collections.abc import Sequence
from typing import Final, cast

import click

from layerkit.cli.lookup import EPILOG, Look, ReadRepository, Where, WhereType, look_options, open_image
from layerkit.cli.output import Output, output_options
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.errors import ManifestUnknown
from layerkit.packages.lock import NO_LOCK
from layerkit.sbom.attach import PREDICATE, read_attachment
from layerkit.sbom.bill import MEDIA_TYPES, BillFormat
from layerkit.sbom.provenance import MEDIA_TYPE, PREDICATE_TYPE
from layerkit.view.image import ViewedImage, list_referrers

_PROVENANCE: Final = "provenance"
_TYPES: Final = {**{str(form): MEDIA_TYPES[form] for form in BillFormat}, _PROVENANCE: MEDIA_TYPE}


@click.command(epilog=EPILOG)
@click.argument("image", type=WhereType(), metavar="REF")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_TYPES)),
    help="Which document to show; by default spdx, else cyclonedx.",
)
@click.option("--make", is_flag=True, help="Look into the image and make the document, rather than show what is there.")
@look_options
@output_options
def sbom(image: Where, *, form: str | None, make: bool, look: Look, output: Output) -> None:
    """Show the bill of materials of an image, which `layerkit build --sbom` has put beside it: its packages with their
    versions and licences, and its files with their digests.

    \b
    layerkit sbom registry.example/web:1 | jq '.packages[].name'
    layerkit sbom --platform linux/arm64 --format cyclonedx web
    layerkit sbom --format provenance web
    layerkit sbom --make debian:12                 of an image that has none
    """
    if make and form == _PROVENANCE:
        raise click.UsageError("--make: what an image was built from cannot be seen in it; build with --provenance.")
    output.answer(asyncio.run(_show(image, form, look, output, make=make)).decode(errors="replace").rstrip("\n"))


async def _show(where: Where, form: str | None, look: Look, output: Output, *, make: bool) -> bytes:
    async with open_image(where, look, output) as image:
        return await (_make(image, form) if make else _find(image, form, output))


async def _make(image: ViewedImage, form: str | None) -> bytes:
    from layerkit.build.attest import format_bills  # noqa: PLC0415 - takes 0.5 s, and most only show
    from layerkit.sbom.survey import survey_image  # noqa: PLC0415

    bill = await survey_image(image, own_layers=len(image.layers), lock=NO_LOCK)
    (attachment,) = await asyncio.to_thread(format_bills, bill, [BillFormat(form or BillFormat.SPDX)])
    return attachment.content


async def _find(image: ViewedImage, form: str | None, output: Output) -> bytes:
    # `open_image` gives none that cannot be listed.
    referrers = await list_referrers(cast("ReadRepository", image.reader), image.manifest.digest) or ()
    wanted = [form] if form is not None else [BillFormat.SPDX.value, BillFormat.CYCLONEDX.value]
    for each in wanted:
        found = [referrer for referrer in referrers if _is(referrer, each)]
        if len(found) > 1:
            output.warn(f"{image.name} has {len(found)} documents of this kind; this is {found[-1].digest}")
        if found:
            return await read_attachment(image.reader, found[-1].digest)
    flag = "--provenance" if form == _PROVENANCE else f"--sbom={form}" if form else "--sbom"
    kinds = _kinds(referrers)
    there = f" (there is {', '.join(kinds)})" if kinds else ""
    make = "" if form == _PROVENANCE else ", or let `layerkit sbom --make` look into it"
    raise ManifestUnknown(
        f"{image.name} for {image.config.platform} has no such document beside it{there}: "
        f"build it with `layerkit build {flag}`{make}"
    )


def _is(referrer: Descriptor, form: str) -> bool:
    if referrer.artifact_type != _TYPES[form]:
        return False
    return form != _PROVENANCE or referrer.annotations.get(PREDICATE, PREDICATE_TYPE) == PREDICATE_TYPE


def _kinds(referrers: Sequence[Descriptor]) -> list[str]:
    return sorted({form for referrer in referrers for form in _TYPES if _is(referrer, form)})
