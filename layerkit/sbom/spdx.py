"""A bill as SPDX 2.3, in JSON. Pure, with the library that SPDX keeps."""

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from license_expression import get_spdx_licensing
from spdx_tools.spdx.jsonschema.document_converter import DocumentConverter
from spdx_tools.spdx.model import (
    Actor,
    ActorType,
    Checksum,
    ChecksumAlgorithm,
    CreationInfo,
    Document,
    ExternalPackageRef,
    ExternalPackageRefCategory,
    File,
    Package,
    PackagePurpose,
    PackageVerificationCode,
    Relationship,
    RelationshipType,
    SpdxNoAssertion,
)

from layerkit.oci.codec import encode_json
from layerkit.sbom.bill import TOOL, Bill, BilledFile, BilledPackage, PackageKind

_DOCUMENT: Final = "SPDXRef-DOCUMENT"
_IMAGE: Final = "SPDXRef-Image"
_SYSTEM: Final = "SPDXRef-OperatingSystem"
_PURPOSES: Final = {
    PackageKind.DEB: PackagePurpose.INSTALL,
    PackageKind.APK: PackagePurpose.INSTALL,
    PackageKind.PYTHON: PackagePurpose.LIBRARY,
    PackageKind.FILE: PackagePurpose.FILE,
    PackageKind.IMAGE: PackagePurpose.CONTAINER,
}


def format_spdx(bill: Bill) -> bytes:
    """The document, the same for the same bill."""
    # What it checks of itself takes longer than all else, and is checked by the tests.
    document = DocumentConverter().convert(_Writer(bill).document())
    return encode_json(document)


class _Writer:
    def __init__(self, bill: Bill) -> None:
        self._bill = bill
        self._files: list[File] = []
        self._relationships = [Relationship(_DOCUMENT, RelationshipType.DESCRIBES, _IMAGE)]

    def document(self) -> Document:
        bill = self._bill
        packages = [self._image(), *self._system(), *(self._package(package) for package in bill.packages)]
        self._add_files(_IMAGE, bill.files)
        return Document(
            creation_info=CreationInfo(
                spdx_version="SPDX-2.3",
                spdx_id=_DOCUMENT,
                name=f"{bill.name} {bill.platform}",
                document_namespace=f"urn:uuid:{uuid5(NAMESPACE_URL, f'{TOOL} {bill.name} {bill.digest}')}",
                creators=[Actor(ActorType.TOOL, TOOL)],
                created=created_at(bill.created),
            ),
            packages=packages,
            files=self._files,
            relationships=self._relationships,
        )

    def _image(self) -> Package:
        bill = self._bill
        return Package(
            spdx_id=_IMAGE,
            name=bill.name,
            version=bill.digest,
            download_location=SpdxNoAssertion(),
            files_analyzed=bool(bill.files),
            verification_code=_verification_code(bill.files) if bill.files else None,
            license_declared=SpdxNoAssertion(),
            license_concluded=SpdxNoAssertion(),
            copyright_text=SpdxNoAssertion(),
            checksums=_checksums(bill.digest.encoded) if bill.digest.algorithm == "sha256" else [],
            primary_package_purpose=PackagePurpose.CONTAINER,
        )

    def _system(self) -> Iterator[Package]:
        if self._bill.system is None:
            return
        identifier, version, title = self._bill.system
        self._relationships.append(Relationship(_IMAGE, RelationshipType.CONTAINS, _SYSTEM))
        yield Package(
            spdx_id=_SYSTEM,
            name=identifier,
            version=version or None,
            summary=title,
            download_location=SpdxNoAssertion(),
            files_analyzed=False,
            license_declared=SpdxNoAssertion(),
            license_concluded=SpdxNoAssertion(),
            copyright_text=SpdxNoAssertion(),
            primary_package_purpose=PackagePurpose.OPERATING_SYSTEM,
        )

    def _package(self, package: BilledPackage) -> Package:
        identifier = _identifier("Package", package.kind, package.name, package.purl)
        is_base = package.kind is PackageKind.IMAGE
        kind = RelationshipType.DESCENDANT_OF if is_base else RelationshipType.CONTAINS
        self._relationships.append(Relationship(_IMAGE, kind, identifier))
        self._add_files(identifier, package.files)
        declared = get_spdx_licensing().parse(package.license) if package.license else SpdxNoAssertion()
        return Package(
            spdx_id=identifier,
            name=package.name,
            version=package.version or None,
            download_location=(package.kind is PackageKind.FILE and package.url) or SpdxNoAssertion(),
            supplier=_supplier(package.supplier),
            files_analyzed=bool(package.files),
            verification_code=_verification_code(package.files) if package.files else None,
            checksums=_checksums(package.sha256.encoded) if package.sha256 else [],
            homepage=package.url or None,
            license_declared=declared,
            license_concluded=SpdxNoAssertion(),
            copyright_text=SpdxNoAssertion(),
            external_references=[ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", package.purl)],
            primary_package_purpose=_PURPOSES[package.kind],
        )

    def _add_files(self, owner: str, files: tuple[BilledFile, ...]) -> None:
        for file in files:
            identifier = _identifier("File", "", file.path.rpartition("/")[2], file.path)
            self._relationships.append(Relationship(owner, RelationshipType.CONTAINS, identifier))
            # SPDX wants the SHA-1 of each (8.4).
            sums = [Checksum(ChecksumAlgorithm.SHA1, file.sha1), *_checksums(file.sha256)]
            self._files.append(
                File(
                    name=f".{printable(file.path)}",
                    spdx_id=identifier,
                    checksums=sums,
                    license_concluded=SpdxNoAssertion(),
                    license_info_in_file=[SpdxNoAssertion()],
                    copyright_text=SpdxNoAssertion(),
                )
            )


def created_at(text: str) -> datetime:
    """A time of a config, as far as a second."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).replace(microsecond=0, tzinfo=None)
    except (ValueError, OverflowError):
        return datetime(1970, 1, 1)  # noqa: DTZ001 - the library takes UTC without saying so


def printable(path: str) -> str:
    """A path that may be no UTF-8, which JSON has to be."""
    return path.encode(errors="backslashreplace").decode()


def _identifier(*parts: str) -> str:
    """Letters, digits, `.` and `-` alone (6.3); the digest tells those apart that would be the same."""
    *names, whole = parts
    shown = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(filter(None, names)))
    return f"SPDXRef-{shown[:80]}-{hashlib.sha256(whole.encode(errors='surrogateescape')).hexdigest()[:16]}"


def _supplier(text: str) -> Actor | SpdxNoAssertion:
    """A maintainer, `Name <address>`."""
    found = re.fullmatch(r"\s*([^<>()]+?)\s*(?:<([^<>]+)>)?\s*", text)
    return Actor(ActorType.PERSON, found[1], found[2]) if found else SpdxNoAssertion()


def _checksums(sha256: str) -> list[Checksum]:
    return [Checksum(ChecksumAlgorithm.SHA256, sha256)]


def _verification_code(files: tuple[BilledFile, ...]) -> PackageVerificationCode:
    """Of all files (7.9): the SHA-1 of their SHA-1s in order."""
    joined = "".join(sorted(file.sha1 for file in files))
    return PackageVerificationCode(hashlib.sha1(joined.encode(), usedforsecurity=False).hexdigest())
