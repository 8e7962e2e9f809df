"""Choosing the image for a platform."""

from layerkit.oci.descriptor import Descriptor
from layerkit.oci.errors import ManifestUnknown
from layerkit.oci.manifest import ImageIndex
from layerkit.oci.platform import Platform


def choose_platform(index: ImageIndex, platform: Platform, *, name: str) -> Descriptor:
    """The child of an index that runs on `platform`: the exact variant, else the next lower one.

    Raises ManifestUnknown, which lists the platforms that there are.
    """
    children = [child for child in index.references() if child.platform is not None]
    for candidate in platform.candidates():
        for child in children:
            if child.platform is not None and child.platform.is_same_as(candidate):
                return child
    known = {str(child.platform) for child in children if child.platform is not None}
    offered = ", ".join(sorted(known - {"unknown/unknown"})) or "none"
    raise ManifestUnknown(f"{name} has no image for {platform}: it has {offered}")
