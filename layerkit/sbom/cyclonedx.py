"""A bill as CycloneDX 1.6, in JSON. Pure, with the library that CycloneDX keeps."""

from collections.abc import Iterator
from datetime import UTC
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from layerkit import __version__
from layerkit.oci.digest import Digest
from layerkit.sbom.bill import TOOL, Bill, BilledFile, BilledPackage, PackageKind
from layerkit.sbom.spdx import created_at, printable

_TYPES: Final = {
    PackageKind.DEB: ComponentType.LIBRARY,
    PackageKind.APK: ComponentType.LIBRARY,
    PackageKind.PYTHON: ComponentType.LIBRARY,
    PackageKind.FILE: ComponentType.FILE,
    PackageKind.IMAGE: ComponentType.CONTAINER,
}


def format_cyclonedx(bill: Bill) -> bytes:
    """The document, the same for the same bill."""
    image = Component(
        type=ComponentType.CONTAINER,
        name=bill.name,
        version=bill.digest,
        bom_ref="image",
        hashes=_hashes(bill.digest.encoded) if bill.digest.algorithm == "sha256" else [],
    )
    tool = Component(type=ComponentType.APPLICATION, name="layerkit", version=__version__, bom_ref=TOOL)
    bom = Bom(
        serial_number=uuid5(NAMESPACE_URL, f"{TOOL} cyclonedx {bill.name} {bill.digest}"),
        metadata=BomMetaData(component=image, timestamp=created_at(bill.created).replace(tzinfo=UTC)),
        components=_components(bill),
    )
    bom.metadata.tools.components.add(tool)
    components = list(bom.components)
    # The library warns of a graph without dependencies: where an image has no packages it depends on its files.
    bom.register_dependency(image, [each for each in components if each.type is not ComponentType.FILE] or components)
    return JsonV1Dot6(bom).output_as_string().encode()


def _components(bill: Bill) -> Iterator[Component]:
    if bill.system is not None:
        name, version, title = bill.system
        yield Component(
            type=ComponentType.OPERATING_SYSTEM,
            name=name,
            version=version or None,
            description=title,
            bom_ref="operating-system",
        )
    for package in bill.packages:
        yield _package(package)
    for file in bill.files:
        yield _file(file)


def _package(package: BilledPackage) -> Component:
    licenses = []
    if package.license:
        is_one = " " not in package.license
        licenses = [DisjunctiveLicense(id=package.license) if is_one else LicenseExpression(package.license)]
    references = []
    if package.url:
        is_file = package.kind is PackageKind.FILE
        kind = ExternalReferenceType.DISTRIBUTION if is_file else ExternalReferenceType.WEBSITE
        references = [ExternalReference(type=kind, url=XsUri(package.url))]
    return Component(
        type=_TYPES[package.kind],
        name=package.name,
        version=package.version or None,
        bom_ref=package.purl,
        purl=PackageURL.from_string(package.purl),
        supplier=OrganizationalEntity(name=package.supplier) if package.supplier else None,
        hashes=_hashes(package.sha256.encoded) if package.sha256 else [],
        licenses=licenses,
        external_references=references,
        components=[_file(file) for file in package.files],
    )


def _file(file: BilledFile) -> Component:
    path = printable(file.path)
    # Of two that are called the same the library would call one by a random number.
    raw = file.path.encode(errors="surrogateescape")
    suffix = "" if path == file.path else f"#{Digest.of(raw).short}"
    hashes = [HashType(alg=HashAlgorithm.SHA_1, content=file.sha1), *_hashes(file.sha256)]
    return Component(type=ComponentType.FILE, name=path, bom_ref=f"file:{path}{suffix}", hashes=hashes)


def _hashes(sha256: str) -> list[HashType]:
    return [HashType(alg=HashAlgorithm.SHA_256, content=sha256)]
