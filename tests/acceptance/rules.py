"""The differences that the acceptance matrix tolerates: what a reader makes of every image, whoever wrote it.

A rule that tolerates nothing any more fails a test, and so does a difference without a rule.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from layerkit.layer.entry import ROOT
from tests.acceptance.tree import Difference

_MADE_BY_DOCKER: Final = frozenset(
    {
        ".dockerenv",
        "dev",
        "dev/console",
        "dev/pts",
        "dev/shm",
        "etc",
        "etc/hostname",
        "etc/hosts",
        "etc/mtab",
        "etc/resolv.conf",
        "proc",
        "sys",
    }
)


@dataclass(frozen=True)
class Rule:
    name: str
    readers: frozenset[str]
    reason: str
    tolerates: Callable[[Difference], bool]


RULES: Final = (
    Rule(
        "the root is the engine's own",
        frozenset({"podman", "buildah", "docker", "docker export", "docker load"}),
        "an engine makes the root directory itself, 0555 or 0755, for every layer and every container, and does not "
        "heed an entry for it; what it has in it is not concerned",
        lambda difference: difference.path == ROOT and difference.field in {"mode", "mtime"},
    ),
    Rule(
        "docker export has no xattrs of users",
        frozenset({"docker export"}),
        "its tar has `security.capability` of all extended attributes; that docker has kept the others the tree of "
        "its layers shows",
        lambda difference: difference.field == "xattrs" and _are_of_users(difference),
    ),
    Rule(
        "docker makes the files of a container",
        frozenset({"docker export"}),
        "what is exported is a container: docker puts mount points and `.dockerenv` into each",
        lambda difference: difference.field == "presence" and difference.path in _MADE_BY_DOCKER,
    ),
)


def find_rule(reader: str, difference: Difference) -> Rule | None:
    for rule in RULES:
        if reader in rule.readers and rule.tolerates(difference):
            return rule
    return None


def _are_of_users(difference: Difference) -> bool:
    planned, found = difference.planned, difference.found
    assert isinstance(planned, tuple)
    assert isinstance(found, tuple)
    return all(name.startswith("user.") for name, _ in set(planned) ^ set(found))
