"""What an image was built from, as SLSA provenance in an in-toto statement. Pure.

Sources: in-toto attestation framework, Statement v1 and ResourceDescriptor v1; SLSA v1.0, provenance. The statement is
not signed: it says what the builder says of itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from layerkit import __version__
from layerkit.layer.write import FORMAT_VERSION
from layerkit.oci.codec import encode_json
from layerkit.oci.digest import Digest
from layerkit.oci.errors import OCIError
from layerkit.oci.platform import Platform
from layerkit.oci.reference import parse_reference
from layerkit.packages.lock import Lock
from layerkit.sbom.survey import without_query

MEDIA_TYPE: Final = "application/vnd.in-toto+json"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"

_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_BUILD_TYPE: Final = "urn:layerkit:build-spec:1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """How an image for one platform came about: the content of the spec file by its digest, which image of it this is,
    and the lock of what it took from elsewhere."""

    spec: Digest
    image: str
    platform: Platform
    lock: Lock


def format_provenance(name: str, digest: Digest, origin: Origin) -> bytes:
    """The statement about the image that is called so, for one platform: the same for the same."""
    statement: dict[str, Any] = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": _digest(digest)}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {
                    "spec": {"digest": _digest(origin.spec)},
                    "image": origin.image,
                    "platform": str(origin.platform),
                },
                "internalParameters": {"formatVersion": FORMAT_VERSION},
                "resolvedDependencies": list(_dependencies(origin)),
            },
            "runDetails": {"builder": {"id": "urn:layerkit", "version": {"layerkit": __version__}}},
        },
    }
    return encode_json(statement)


def _dependencies(origin: Origin) -> Iterator[dict[str, Any]]:
    lock = origin.lock
    for name, digest in sorted(lock.bases.items()):
        yield {"name": name, "uri": f"oci:{_at(name, digest)}", "digest": _digest(digest)}
    for url, locked in sorted(lock.urls.items()):
        yield {"uri": without_query(url), "digest": _digest(locked.sha256)}
    debs = {deb for apt in lock.apt.values() for deb in apt.packages}
    for deb in sorted(debs, key=lambda deb: (deb.name, deb.architecture, deb.version)):
        annotations = {"package": deb.name, "version": deb.version, "architecture": deb.architecture}
        yield {"name": deb.path, "digest": _digest(deb.sha256), "annotations": annotations}
    wheels = {wheel for python in lock.python.values() for wheel in python.packages}
    for wheel in sorted(wheels, key=lambda wheel: (wheel.name, wheel.version, wheel.file)):
        uri = f"pkg:pypi/{wheel.name}@{wheel.version}"
        yield {"name": wheel.file, "uri": uri, "digest": _digest(wheel.sha256)}


def _at(name: str, digest: Digest) -> str:
    try:
        return str(parse_reference(name).at(digest))
    except OCIError:
        return name


def _digest(digest: Digest) -> dict[str, str]:
    return {digest.algorithm: digest.encoded}
