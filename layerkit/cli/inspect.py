"""`layerkit inspect`."""

import asyncio
import json
from typing import Any

import click

from layerkit.cli.display import format_descriptor
from layerkit.cli.environment import Access, ReferenceType, access_options, open_registry, open_store
from layerkit.cli.output import Output
from layerkit.image.select import choose_platform
from layerkit.oci.codec import encode_json
from layerkit.oci.config import MAX_SIZE, ImageConfig
from layerkit.oci.errors import ManifestInvalid, ManifestUnknown
from layerkit.oci.manifest import ImageIndex, ImageManifest, Manifest
from layerkit.oci.platform import Platform, parse_platform
from layerkit.oci.reference import Reference, RepositoryName
from layerkit.oci.repository import Reader
from layerkit.sizes import format_size


@click.command()
@click.argument("reference", type=ReferenceType(), metavar="REF")
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="Which image of an index.")
@click.option("--remote", is_flag=True, help="Ask the registry, even if the local store has the image.")
@access_options
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def inspect(reference: Reference, *, platform: str | None, remote: bool, form: str, access: Access) -> None:
    """Show the manifest, layers and config of an image: of the local store, else of its registry.

    \b
    layerkit inspect localhost:5000/hello:1
    layerkit inspect --format json localhost:5000/hello:1
    """
    try:
        wanted = parse_platform(platform) if platform else None
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    shown = asyncio.run(_inspect(reference.with_default_tag(), wanted, access, remote=remote))
    Output(quiet=False).answer(shown.as_json() if form == "json" else shown.as_text())


class _Shown:
    def __init__(self, reference: Reference, manifest: Manifest, config: ImageConfig | None) -> None:
        self.reference = reference
        self.manifest = manifest
        self.config = config

    def as_json(self) -> str:
        """`name`, `descriptor`, `manifest` and `config`, the last two as they are stored."""
        document: dict[str, Any] = {
            "name": str(self.reference),
            "descriptor": json.loads(encode_json(self.manifest.descriptor)),
            "manifest": json.loads(self.manifest.raw),
        }
        if self.config is not None:
            document["config"] = json.loads(self.config.raw)
        return json.dumps(document, indent=2, ensure_ascii=False)

    def as_text(self) -> str:
        lines = [
            f"name      {self.reference.familiar()}",
            f"digest    {self.manifest.digest}",
            f"type      {self.manifest.media_type}",
        ]
        if self.config is not None:
            lines += [f"platform  {self.config.platform}", *self._execution(self.config)]
        lines.append("")
        for descriptor in self.manifest.document.references():
            platform = f"  {descriptor.platform}" if descriptor.platform else ""
            lines.append(f"{format_descriptor(descriptor)}{platform}")
        lines.append(f"total    {format_size(sum(d.size for d in self.manifest.document.references())):>8}")
        # What others wrote into an image must not reach the terminal as anything but text.
        return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in "\n".join(lines))

    @staticmethod
    def _execution(config: ImageConfig) -> list[str]:
        execution = config.execution
        rows = {
            "created": config.created,
            "entry": json.dumps(execution.entrypoint) if execution.entrypoint else "",
            "cmd": json.dumps(execution.cmd) if execution.cmd else "",
            "user": execution.user,
            "workdir": execution.working_dir,
            "ports": ", ".join(execution.exposed_ports or ()),
            "env": "\n          ".join(execution.env or ()),
            "labels": "\n          ".join(f"{key}={value}" for key, value in (execution.labels or {}).items()),
        }
        return [f"{name:<9} {value}" for name, value in rows.items() if value]


async def _inspect(reference: Reference, platform: Platform | None, access: Access, *, remote: bool) -> _Shown:
    if not remote:
        local = open_store().repository(RepositoryName(reference.name))
        try:
            await local.stat_manifest(reference.target)
        except ManifestUnknown:
            pass
        else:
            return await _read(local, reference, platform)
    async with open_registry(reference, access) as registry:
        return await _read(registry.repository(reference.path), reference, platform)


async def _read(repository: Reader, reference: Reference, platform: Platform | None) -> _Shown:
    manifest = await repository.get_manifest(reference.target)
    if platform is not None and isinstance(manifest.document, ImageIndex):
        chosen = choose_platform(manifest.document, platform, name=str(reference))
        manifest = await repository.get_manifest(chosen.digest)
    document = manifest.document
    if not isinstance(document, ImageManifest) or "json" not in document.config.media_type:
        return _Shown(reference, manifest, None)
    if document.config.size > MAX_SIZE:
        raise ManifestInvalid(f"config {document.config.digest} has {document.config.size} bytes: too large to show")
    async with repository.open_blob(document.config.digest) as blob:
        raw = b"".join([chunk async for chunk in blob])
    return _Shown(reference, manifest, ImageConfig.parse(raw) if b"rootfs" in raw else None)
