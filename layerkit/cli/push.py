"""`layerkit push`."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import click
import msgspec

from layerkit.build.ahead import Ahead, Listener, going_ahead
from layerkit.cli.environment import Access, ReferenceType, access_options, open_registry, open_store
from layerkit.cli.location import StoreOrigins
from layerkit.cli.output import Output, StepLog, format_manifest, format_option, output_options
from layerkit.content.store import Store
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.manifest import Manifest
from layerkit.oci.reference import DEFAULT_TAG, Reference, RepositoryName
from layerkit.oci.repository import Registry
from layerkit.transfer import Copy


@click.command(epilog="The digest of the image is printed on stdout, all else on stderr.")
@click.argument("reference", type=ReferenceType(is_target=True), metavar="REF")
@access_options
@format_option
@output_options
def push(reference: Reference, *, access: Access, form: str, output: Output) -> None:
    """Push an image of the local store to the registry that its name says.

    \b
    layerkit push localhost:5000/hello:1
    """
    named = reference.with_default_tag()
    manifest = asyncio.run(push_image(open_store(access), named, output, access))
    output.answer(format_manifest(str(named), manifest, form))


async def push_image(store: Store, reference: Reference, output: Output, access: Access) -> Manifest:
    """Push the image that the store has under this name, with what refers to it."""
    log = StepLog(output, verb="pushed")
    async with open_registry(reference, access) as registry:
        return await _push(_copy(store, reference, registry, log), reference, log, output)


class Pushes:
    """The pushes of a build, by `open_pushes`. Each repository is sent layers from the first new one on."""

    def __init__(self, store: Store, output: Output) -> None:
        self._store = store
        self._output = output
        self._ahead: dict[str, Ahead] = {}
        self._logs: dict[str, StepLog] = {}

    async def begin(self, reference: Reference, registry: Registry, stack: AsyncExitStack) -> None:
        if reference.name not in self._ahead:
            log = self._logs[reference.name] = StepLog(self._output, verb="pushed")
            copy = _copy(self._store, reference, registry, log)
            self._ahead[reference.name] = await stack.enter_async_context(going_ahead(copy))

    def listener(self, references: Iterable[Reference]) -> Listener:
        """Who is to hear of the layers of the image that gets these names."""
        return _All([self._ahead[name] for name in dict.fromkeys(reference.name for reference in references)])

    async def push(self, reference: Reference) -> None:
        """Push the image that the store has under this name by now, one of those that were begun with."""
        copy = await self._ahead[reference.name].finish()
        # What went ahead is counted with the first name of each repository.
        log = self._logs.pop(reference.name, None) or StepLog(self._output, verb="pushed")
        await _push(msgspec.structs.replace(copy, progress=log), reference, log, self._output)


@asynccontextmanager
async def open_pushes(
    store: Store, references: Iterable[Reference], output: Output, access: Access
) -> AsyncIterator[Pushes]:
    """Connections to the registries of these names, each once."""
    pushes = Pushes(store, output)
    async with AsyncExitStack() as stack:
        registries: dict[str, Registry] = {}
        for reference in references:
            if reference.domain not in registries:
                registries[reference.domain] = await stack.enter_async_context(open_registry(reference, access))
            await pushes.begin(reference, registries[reference.domain], stack)
        yield pushes


class _All(msgspec.Struct, frozen=True):
    """A Listener for several."""

    listeners: Sequence[Listener]

    def changes(self) -> None:
        for listener in self.listeners:
            listener.changes()

    def has(self, layer: Descriptor) -> None:
        for listener in self.listeners:
            listener.has(layer)


def _copy(store: Store, reference: Reference, registry: Registry, log: StepLog) -> Copy:
    return Copy(
        source=store.repository(RepositoryName(reference.name)),
        destination=registry.repository(reference.path),
        origins=StoreOrigins(store, reference),
        progress=log,
    )


async def _push(copy: Copy, reference: Reference, log: StepLog, output: Output) -> Manifest:
    manifest = await copy.source.get_manifest(reference.target)
    output.note(f"pushing {reference}")
    await copy.with_referrers(manifest, [] if reference.digest else [reference.tag or DEFAULT_TAG])
    output.note(f"pushed {reference}: {log.summary()}")
    return manifest
