"""Order among the images of a file: what one needs of the others, and what two of them cannot both have."""

from collections.abc import Iterator, Mapping, Sequence

from layerkit.document.problem import Problem
from layerkit.oci.reference import Reference
from layerkit.spec.model import ImageSpec, Spec


def find_cycles(images: Sequence[ImageSpec]) -> list[Problem]:
    """A problem for each image that needs itself through others, at the place where the circle closes."""
    by_name = {image.name: image for image in images}
    done: set[str] = set()
    problems: list[Problem] = []

    def visit(image: ImageSpec, way: tuple[str, ...]) -> None:
        if image.name in done:
            return
        way = (*way, image.name)
        for spec in image.specs:
            for name, position in spec.images.items():
                if name in way and name != image.name:
                    circle = " -> ".join((*way[way.index(name) :], name))
                    message = f"image `{name}` would need itself: {circle}"
                    problems.append(spec.document.problem(position, message, "take one of these out of the circle"))
                elif name not in way and name in by_name:
                    visit(by_name[name], way)
        done.add(image.name)

    for image in images:
        visit(image, ())
    return problems


def find_missing_platforms(images: Sequence[ImageSpec]) -> list[Problem]:
    """A problem for each image that is needed for a platform that it is not built for."""
    by_name: Mapping[str, ImageSpec] = {image.name: image for image in images}
    return [problem for image in images for spec in image.specs for problem in _find_missing(spec, by_name)]


def _find_missing(spec: Spec, by_name: Mapping[str, ImageSpec]) -> Iterator[Problem]:
    for name, position in spec.images.items():
        needed = by_name.get(name)
        if needed is None or name == spec.name or not needed.specs:
            continue
        if not any(spec.platform.is_same_as(platform) for platform in needed.platforms):
            built_for = ", ".join(map(str, needed.platforms))
            yield spec.document.problem(
                position,
                f"image `{name}` is not built for {spec.platform}, but for {built_for}",
                "give both the same `platforms:`, in `defaults:` for example",
            )


def find_shared_tags(images: Sequence[ImageSpec]) -> list[Problem]:
    """A problem for each tag that an image above has too: the later one would take it away."""
    owners: dict[Reference, ImageSpec] = {}
    problems: list[Problem] = []
    for image in images:
        for tag in image.tags:
            owner = owners.setdefault(tag, image)
            if owner is not image:
                spec = image.specs[0]
                message = f"image `{owner.name}` has the tag {tag} too"
                problems.append(spec.document.problem(spec.locate("tags"), message, "give each image tags of its own"))
    return problems
