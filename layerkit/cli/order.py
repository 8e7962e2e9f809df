"""The order that `layerkit build` gives: images to build, the names that they get, and where they are brought.

A build that changes nothing takes little longer than its imports: what few of them need is imported when it is needed.
"""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from layerkit.build.builder import Builder
from layerkit.build.built import BuildResult
from layerkit.cli.environment import Access, host_platform
from layerkit.cli.output import Output
from layerkit.cli.results import Attached, describe_result
from layerkit.content.store import Store
from layerkit.oci.digest import Digest
from layerkit.oci.reference import DEFAULT_TAG, Reference, RepositoryName, Tag
from layerkit.sbom.bill import BillFormat
from layerkit.spec.model import ImageSpec

if TYPE_CHECKING:
    from layerkit.cli.outputs import Place
    from layerkit.cli.push import Pushes


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be built, under which names, and where it goes. `again` are arguments of a build to compare with."""

    selected: Sequence[ImageSpec]
    references: Mapping[RepositoryName, tuple[Reference, ...]]
    places: "Sequence[Place]"
    push: bool
    load: bool
    access: Access
    again: Sequence[str] | None = None
    cache_from: Sequence[Reference] = ()
    cache_to: Sequence[Reference] = ()
    bills: frozenset[BillFormat] = frozenset()
    provenance: Path | None = None
    """The spec file that provenance is to name."""


async def carry_out(order: Order, builder: Builder, output: Output) -> "tuple[list[BuildResult], Attached]":
    """Build, and give the images their names, and bring them where they are wanted; returned are those with names, and
    what was put beside them."""
    async with AsyncExitStack() as stack:
        pushes: Pushes | None = None
        listeners = {}
        if order.push:
            from layerkit.cli.push import open_pushes  # noqa: PLC0415 - see above

            names = [name for names in order.references.values() for name in names]
            pushes = await stack.enter_async_context(open_pushes(builder.store, names, output, order.access))
            listeners = {name: pushes.listener(references) for name, references in order.references.items()}
        if order.cache_from:
            from layerkit.cli.caches import open_caches  # noqa: PLC0415 - see above

            caches = open_caches(builder.store, order.cache_from, output, order.access)
            builder = msgspec.structs.replace(builder, shared=await stack.enter_async_context(caches))
        built = await builder.build(order.selected, listeners)
        results = [result for result in built if result.spec.name in order.references]
        for warning in dict.fromkeys(warning for result in results for warning in result.warnings):
            output.warn(warning)
        if order.again is not None:
            from layerkit.cli.repro import build_again  # noqa: PLC0415 - see above

            described = [describe_result(result, order.references[result.spec.name], {}) for result in results]
            second = await build_again(builder, order.selected, order.again, order.access)
            _compare(described, second, output)
        if builder.shared is not None and not _is_mounted(order, builder.shared.domains):
            await builder.shared.bring()
        attached = await _attest(order, builder, results, output)
        await _deliver(order, builder.store, results, attached, output, pushes)
        if order.cache_to:
            from layerkit.cli.caches import write_caches  # noqa: PLC0415 - see above

            pushed = [name for names in order.references.values() for name in names] if order.push else []
            await write_caches(builder.store, order.cache_to, built, pushed, output, order.access)
    return results, attached


def _is_mounted(order: Order, domains: set[str]) -> bool:
    """Whether all that is wanted of layers is to be mounted within these registries, so that none need be here."""
    names = [name for names in order.references.values() for name in names]
    return order.push and not order.places and not order.load and all(name.domain in domains for name in names)


async def _attest(order: Order, builder: Builder, results: Sequence[BuildResult], output: Output) -> Attached:
    if not order.bills and order.provenance is None:
        return {}
    from layerkit.build.attest import Attestor  # noqa: PLC0415 - see above
    from layerkit.build.headers import HeaderCache  # noqa: PLC0415

    attestor = Attestor(
        store=builder.store,
        headers=HeaderCache(folder=builder.cache, is_trusted=builder.is_cached),
        bills=order.bills,
        spec=Digest.of(order.provenance.read_bytes()) if order.provenance is not None else None,
        progress=builder.progress,
    )
    images = {image.manifest.digest: image for result in results for image in result.images}
    attached = {digest: await attestor.attest(image) for digest, image in images.items()}
    for manifest in (manifest for manifests in attached.values() for manifest in manifests):
        output.note(f"  {'referrer':<8} {'':>8}  {manifest.digest}  {manifest.document.artifact_type}")
    return attached


def _compare(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]], output: Output) -> None:
    from layerkit.cli.repro import find_differences  # noqa: PLC0415 - see above

    differences = list(find_differences(first, second))
    if differences:
        raise click.ClickException("not reproducible:\n" + "\n".join(f"  {difference}" for difference in differences))
    output.note(
        "reproducible: the same bytes with another umask, time zone, locale, order of folders and number of threads"
    )


async def _deliver(
    order: Order,
    store: Store,
    results: Sequence[BuildResult],
    attached: Attached,
    output: Output,
    pushes: "Pushes | None",
) -> None:
    """Give the images their names, and bring them where they are wanted."""
    for result in results:
        kind = "image" if len(result.images) == 1 else "index"
        output.note(f"  {kind:<8} {'':>8}  {result.manifest.digest}")
        for reference in order.references[result.spec.name]:
            repository = store.repository(RepositoryName(reference.name))
            await repository.put_manifest(result.manifest, [_tag(reference)])
            output.note(f"tagged {reference}")
    if order.places or order.load:
        from layerkit.cli.outputs import load_results, write_place  # noqa: PLC0415 - see above
    for place in order.places:
        await write_place(store, place, results, order.references, attached, host_platform(), output)
    if order.load:
        await load_results(store, results, order.references, host_platform(), output)
    if pushes is not None:
        for result in results:
            for reference in order.references[result.spec.name]:
                await pushes.push(reference)


def _tag(reference: Reference) -> Tag:
    return reference.tag or DEFAULT_TAG
