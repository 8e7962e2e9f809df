"""`layerkit inspect`."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from layerkit.cli.display import format_descriptor
from layerkit.cli.lookup import EPILOG, Found, Look, Where, WhereType, find_image, look_options
from layerkit.cli.output import Output, format_json, format_option, output_options
from layerkit.cli.voice import one_line
from layerkit.image.image import BASE_DIGEST, BASE_NAME
from layerkit.image.select import choose_platform
from layerkit.oci.codec import encode_json
from layerkit.oci.config import ImageConfig
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.manifest import ImageIndex, ImageManifest, Manifest
from layerkit.oci.mediatype import DOCKER_CONFIG, OCI_CONFIG
from layerkit.sizes import format_size
from layerkit.view.image import list_referrers, read_config

CREATED: Final = "org.opencontainers.image.created"


@click.command(epilog=EPILOG)
@click.argument("image", type=WhereType(), metavar="REF")
@format_option
@look_options
@output_options
def inspect(image: Where, *, form: str, look: Look, output: Output) -> None:
    """Show the manifest, layers and config of an image: of the local store, else of its registry.

    Of an index its platforms are shown, and with --platform the image for it.

    \b
    layerkit inspect localhost:5000/hello:1
    layerkit inspect --platform linux/arm64 debian:12
    layerkit inspect --format json localhost:5000/hello:1 | jq .config.config.Env
    """
    shown = asyncio.run(_inspect(image, look))
    output.answer(format_json(shown.as_json()) if form == "json" else shown.as_text())


async def _inspect(image: Where, look: Look) -> "_Shown":
    async with find_image(image, look) as found:
        return await _read(found, look)


async def _read(found: Found, look: Look) -> "_Shown":
    repository = found.repository
    with found.sought():
        manifest = await repository.get_manifest(found.target)
    if look.platform is not None and isinstance(manifest.document, ImageIndex):
        chosen = choose_platform(manifest.document, look.platform, name=found.name)
        manifest = await repository.get_manifest(chosen.digest)
    config = None
    document = manifest.document
    if isinstance(document, ImageManifest) and document.config.media_type in {OCI_CONFIG, DOCKER_CONFIG}:
        config = await read_config(repository, document)
    return _Shown(
        name=found.name,
        full=found.full or found.name,
        manifest=manifest,
        config=config,
        referrers=await list_referrers(repository, manifest.digest),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """`referrers` is None where the repository cannot tell of them."""

    full: str
    name: str
    manifest: Manifest
    config: ImageConfig | None
    referrers: Sequence[Descriptor] | None

    def as_json(self) -> dict[str, Any]:
        """docs/output.md, "layerkit inspect"."""
        document: dict[str, Any] = {
            "name": self.full,
            "descriptor": json.loads(encode_json(self.manifest.descriptor)),
            "manifest": json.loads(self.manifest.raw),
        }
        if self.config is not None:
            document["config"] = json.loads(self.config.raw)
        if self.referrers:
            document["referrers"] = [json.loads(encode_json(referrer)) for referrer in self.referrers]
        return document

    def as_text(self) -> str:
        document = self.manifest.document
        annotations = dict(document.annotations or {})
        rows: list[tuple[str, str]] = [
            ("name", self.name),
            ("digest", self.manifest.digest),
            ("type", self.manifest.media_type),
        ]
        if document.artifact_type:
            rows.append(("artifact", document.artifact_type))
        if document.subject is not None:
            rows.append(("subject", document.subject.digest))
        if self.config is not None:
            rows += [("platform", str(self.config.platform)), *_execution(self.config)]
        base = " ".join(filter(None, (annotations.pop(BASE_NAME, ""), annotations.pop(BASE_DIGEST, ""))))
        if base:
            rows.append(("base", base))
        if self.config is not None and annotations.get(CREATED, "") == self.config.created:
            del annotations[CREATED]
        rows += _many("note", _pairs(annotations))
        if self.referrers:
            rows += _many("referrer", [f"{r.digest}  {r.artifact_type or r.media_type}" for r in self.referrers])
        # What others wrote into an image must not reach the terminal as anything but text.
        lines = [*(f"{name:<8}  {one_line(value)}" for name, value in rows), "", *map(one_line, self._contents())]
        return "\n".join(lines)

    def _contents(self) -> Iterator[str]:
        references = list(self.manifest.document.references())
        for descriptor in references:
            platform = f"  {descriptor.platform}" if descriptor.platform else ""
            yield f"{format_descriptor(descriptor)}{platform}"
        yield f"{'total':<8} {format_size(sum(descriptor.size for descriptor in references)):>8}"


def _execution(config: ImageConfig) -> Iterator[tuple[str, str]]:
    execution = config.execution
    rows: dict[str, Sequence[str]] = {
        "created": [config.created or ""],
        "entry": [json.dumps(execution.entrypoint, ensure_ascii=False)] if execution.entrypoint else [],
        "cmd": [json.dumps(execution.cmd, ensure_ascii=False)] if execution.cmd else [],
        "user": [execution.user],
        "workdir": [execution.working_dir],
        "ports": [", ".join(execution.exposed_ports or ())],
        "volumes": [", ".join(execution.volumes or ())],
        "stop": [execution.stop_signal],
        "env": execution.env or (),
        "labels": _pairs(execution.labels or {}),
    }
    for name, values in rows.items():
        yield from _many(name, [value for value in values if value])


def _many(name: str, values: Sequence[str]) -> list[tuple[str, str]]:
    """A row for each value, of which the first has the name."""
    return [(name if number == 0 else "", value) for number, value in enumerate(values)]


def _pairs(values: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]
