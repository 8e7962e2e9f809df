"""What was built, as JSON: for `--format json`, whose shape docs/output.md tells, and for `--metadata-file`."""

from collections.abc import Mapping, Sequence

from layerkit.build.built import BuildResult
from layerkit.oci.digest import Digest
from layerkit.oci.manifest import Manifest
from layerkit.oci.reference import Reference, RepositoryName

Attached = Mapping[Digest, Sequence[Manifest]]
"""What was put beside images, by the digests of their manifests for one platform."""


def describe_result(result: BuildResult, references: Sequence[Reference], attached: Attached) -> dict[str, object]:
    """An image for `--format json`; docs/output.md has the shape."""
    return {
        "name": result.spec.name,
        "digest": result.manifest.digest,
        "mediaType": result.manifest.media_type,
        "size": len(result.manifest.raw),
        "references": [str(reference) for reference in references],
        "platforms": [
            {
                "platform": str(image.platform),
                "digest": image.manifest.digest,
                "config": image.image.config.digest,
                "layers": [
                    {
                        "name": layer.planned.name,
                        "digest": layer.written.descriptor.digest,
                        "mediaType": layer.written.descriptor.media_type,
                        "size": layer.written.descriptor.size,
                        "diffId": layer.written.diff_id,
                        "codec": layer.written.codec,
                    }
                    for layer in image.layers
                ],
                **_referrers(attached.get(image.manifest.digest, ())),
            }
            for image in result.images
        ],
    }


def _referrers(manifests: Sequence[Manifest]) -> dict[str, object]:
    if not manifests:
        return {}
    return {"referrers": [{"artifactType": m.document.artifact_type, "digest": m.digest} for m in manifests]}


def describe_metadata(
    results: Sequence[BuildResult], references: Mapping[RepositoryName, tuple[Reference, ...]]
) -> dict[str, object]:
    """What `docker buildx build --metadata-file` writes of one image, and `docker buildx bake` of several."""
    described: dict[str, object] = {}
    for result in results:
        descriptor = result.manifest.descriptor
        found: dict[str, object] = {
            "containerimage.descriptor": {
                "mediaType": descriptor.media_type,
                "digest": descriptor.digest,
                "size": descriptor.size,
            },
            "containerimage.digest": descriptor.digest,
            "image.name": ",".join(str(reference) for reference in references[result.spec.name]),
        }
        if len(result.images) == 1:
            found["containerimage.config.digest"] = result.images[0].image.config.digest
        described[result.spec.name] = dict(sorted(found.items()))
    if len(results) == 1:
        (found_alone,) = described.values()
        assert isinstance(found_alone, dict)  # noqa: S101 - for mypy
        return found_alone
    return described
