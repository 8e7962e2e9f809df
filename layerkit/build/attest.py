"""Attesting: what is in an image that was built, and what it was built from, put beside it in the store."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from layerkit.build.built import BuiltImage
from layerkit.content.store import Store
from layerkit.oci.digest import Digest
from layerkit.oci.manifest import ImageManifest, Manifest
from layerkit.oci.reference import RepositoryName
from layerkit.progress import SILENT, Progress
from layerkit.sbom.attach import Attachment, attach
from layerkit.sbom.bill import MEDIA_TYPES, Bill, BillFormat
from layerkit.sbom.survey import survey_image
from layerkit.view.image import Headers, ViewedImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestor:
    """`spec` is the digest of the spec file, where provenance is wanted."""

    store: Store
    headers: Headers
    bills: frozenset[BillFormat] = frozenset()
    spec: Digest | None = None
    progress: Progress = SILENT

    async def attest(self, built: BuiltImage) -> list[Manifest]:
        """Put the documents beside the image for one platform; returned are their manifests. Raises LayerError, and
        OCIError for the store and for layers that have to be brought."""
        attachments: list[Attachment] = []
        if self.bills:
            bill = await survey_image(self._view(built), own_layers=built.own_layers, lock=built.lock)
            attachments += await asyncio.to_thread(format_bills, bill, self.bills)
        if self.spec is not None:
            attachments.append(_provenance(built, self.spec))
        repository = self.store.repository(RepositoryName(""))
        return [await attach(repository, built.manifest.descriptor, attachment) for attachment in attachments]

    def _view(self, built: BuiltImage) -> ViewedImage:
        document = built.manifest.document
        assert isinstance(document, ImageManifest)  # noqa: S101 - it was built as one
        return ViewedImage(
            name=str(built.plan.spec.name),
            reader=self.store.repository(RepositoryName("")),
            manifest=built.manifest,
            document=document,
            config=built.image.config,
            headers=self.headers,
            progress=self.progress,
        )


def format_bills(bill: Bill, formats: Iterable[BillFormat]) -> list[Attachment]:
    """The documents of a bill. Their libraries take long to import, and are by what is wanted."""
    attachments = []
    for form in sorted(formats):
        match form:
            case BillFormat.SPDX:
                from layerkit.sbom.spdx import format_spdx  # noqa: PLC0415

                content = format_spdx(bill)
            case BillFormat.CYCLONEDX:
                from layerkit.sbom.cyclonedx import format_cyclonedx  # noqa: PLC0415

                content = format_cyclonedx(bill)
        attachments.append(Attachment(media_type=MEDIA_TYPES[form], content=content))
    return attachments


def _provenance(built: BuiltImage, spec: Digest) -> Attachment:
    from layerkit.sbom import provenance  # noqa: PLC0415 - few ask for it

    name = str(built.plan.spec.name)
    origin = provenance.Origin(spec=spec, image=name, platform=built.platform, lock=built.lock)
    content = provenance.format_provenance(name, built.manifest.digest, origin)
    return Attachment(media_type=provenance.MEDIA_TYPE, content=content, predicate=provenance.PREDICATE_TYPE)
