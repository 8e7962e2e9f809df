"""What `layerkit ls` says of an image, and what a folder with the same image in it is: made comparable."""

from typing import Any

from layerkit.layer.entry import ROOT
from tests.acceptance.tree import Tree

Listing = dict[str, tuple[str, int, int, int, int, int, str]]
"""By path: type, mode, uid, gid, size, mtime, link target."""


def listed_tree(document: dict[str, Any]) -> Listing:
    """Of the answer of `layerkit ls -R --format json`."""
    return {
        file["path"].strip("/"): (
            file["type"],
            int(file["mode"], 8),
            file["uid"],
            file["gid"],
            file["size"],
            file["mtime"],
            file.get("target") or "",
        )
        for file in document["files"]
        if file["path"] != "/"
    }


def comparable(tree: Tree) -> Listing:
    """All but the root, which engines make."""
    return {
        path: (node.type, node.mode, node.uid, node.gid, node.size, node.mtime, node.link)
        for path, node in tree.items()
        if path != ROOT
    }
