"""A package: one version of one name for one architecture, as a list describes it."""

from dataclasses import dataclass, field
from typing import Self

from layerkit.oci.digest import Digest, shorten
from layerkit.oci.errors import OCIError
from layerkit.packages.debian.control import Stanza
from layerkit.packages.debian.relation import Alternatives, Relation, parse_relations
from layerkit.packages.errors import PackageError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Package:
    """`depends` are Pre-Depends and Depends together, in their order; `breaks` are Conflicts and Breaks.

    `architecture` may be `all`. `path` is relative to the mirror, `size` in bytes, `sha256` of the .deb: empty for what
    is installed already. `priority` is apt's for its list: that of a suite which is not automatic is lower; `origin`
    names the list.
    """

    name: str
    version: str
    architecture: str
    depends: tuple[Alternatives, ...] = ()
    breaks: tuple[Alternatives, ...] = ()
    provides: tuple[Relation, ...] = ()
    multi_arch: str = ""
    essential: bool = False
    importance: str = ""
    source: str = ""
    path: str = ""
    size: int = 0
    sha256: Digest | None = None
    priority: int = 500
    origin: str = ""
    stanza: Stanza = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @classmethod
    def of(cls, stanza: Stanza, *, native: str, origin: str, priority: int = 500) -> Self:
        """What a stanza of a list or of dpkg's status says; `native` is the architecture that it is read for.

        Raises PackageError.
        """
        name, version = stanza.get("package", ""), stanza.get("version", "")
        if not name or not version:
            raise PackageError(f"{origin}: a package has no name or no version: {shorten(name or version)}")

        def relations(*fields: str) -> tuple[Alternatives, ...]:
            return tuple(group for item in fields for group in parse_relations(stanza.get(item, ""), native))

        try:
            digest = Digest(f"sha256:{stanza['sha256']}") if "sha256" in stanza else None
            size = int(stanza.get("size", "0"))
        except (OCIError, ValueError) as error:
            raise PackageError(f"{origin}: {name}: its size or its SHA256 is none: {error}") from error
        return cls(
            name=name,
            version=version,
            architecture=stanza.get("architecture", native),
            depends=relations("pre-depends", "depends"),
            breaks=relations("conflicts", "breaks"),
            provides=tuple(alternatives[0] for alternatives in relations("provides")),
            multi_arch=stanza.get("multi-arch", ""),
            essential=stanza.get("essential") == "yes",
            importance=stanza.get("priority", ""),
            source=stanza.get("source", name).partition(" ")[0],
            path=stanza.get("filename", ""),
            size=size,
            sha256=digest,
            priority=priority,
            origin=origin,
            stanza=stanza,
        )

    def satisfies(self, relation: Relation) -> bool:
        """Whether it is what a relation names, by its own name or one that it provides (Policy 7.5: a version that is
        asked for is met by a provision that has one)."""
        if self.name == relation.name:
            return relation.accepts(self.version)
        return any(
            provided.name == relation.name
            and (not relation.operator or (provided.operator == "=" and relation.accepts(provided.version)))
            for provided in self.provides
        )
