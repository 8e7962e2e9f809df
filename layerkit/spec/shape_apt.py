"""The shape of a layer's `apt:`: Debian packages, and where they come from."""

from typing import Annotated, ClassVar, Self, TypeAlias

from pydantic import BeforeValidator, model_validator

from layerkit.document.problem import InvalidValue
from layerkit.document.tree import describe
from layerkit.document.types import ListOf, Section, StringList
from layerkit.spec import apt
from layerkit.spec.shape_types import parsed

_Package: TypeAlias = Annotated[str, parsed(apt.parse_package, r"^[a-z0-9][a-z0-9+.-]+(=.+)?$")]
_Suite: TypeAlias = Annotated[str, parsed(apt.parse_suite)]
_Component: TypeAlias = Annotated[str, parsed(apt.parse_component)]
_Url: TypeAlias = Annotated[str, parsed(apt.parse_mirror_url, "^[Hh][Tt][Tt][Pp][Ss]?://")]
_Keyring: TypeAlias = Annotated[str, parsed(apt.parse_keyring)]
_Snapshot: TypeAlias = Annotated[str, parsed(apt.parse_snapshot, "^[0-9]{8}T[0-9]{6}Z$")]

_SOURCE_WORDS: dict[str, str] = {
    "suites": "suite",
    "codename": "suite",
    "release": "suite",
    "distribution": "suite",
    "component": "components",
    "signed_by": "keyring",
    "key": "keyring",
    "keys": "keyring",
}


class MirrorShape(Section):
    short_form: ClassVar = {"type": "string", "description": "Its URL.", "pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://|\$\{"}
    other_words: ClassVar = {"uri": "url", "uris": "url", "mirror": "url", **_SOURCE_WORDS}

    url: _Url
    """Where the archive is: the URL above `dists/` and `pool/`."""
    suite: _Suite | None = None
    """The suite of this mirror, where it is not that of `apt:`."""
    components: ListOf[_Component] | None = None
    """The components of this mirror, where they are not those of `apt:`."""
    keyring: _Keyring | None = None
    """The keys that sign this mirror's suites, where they are not those of `apt:`."""

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: object) -> object:
        return {"url": value} if isinstance(value, str) else value


def _as_mirrors(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,)


class AptShape(Section):
    short_form: ClassVar = {
        "type": "array",
        "description": "The packages.",
        "items": {"type": "string", "pattern": r"^[a-z0-9][a-z0-9+.-]+(=.+)?$|\$\{"},
    }
    other_words: ClassVar = {
        "package": "packages",
        "install": "packages",
        "names": "packages",
        "mirrors": "mirror",
        "uri": "mirror",
        "uris": "mirror",
        "url": "mirror",
        "sources": "mirror",
        "date": "snapshot",
        "timestamp": "snapshot",
        "ignore": "exclude",
        "without": "exclude",
        **_SOURCE_WORDS,
    }
    elsewhere: ClassVar = {
        "recommends": "recommended packages are not installed: name those that you want under `packages:`",
        "owner": "files of packages have the owners that the packages give them",
        "mode": "files of packages have the modes that the packages give them",
    }

    packages: ListOf[_Package]
    """Names of packages, or NAME=VERSION. What they depend upon comes with them, what they recommend does not."""
    suite: _Suite | None = None
    """Like `bookworm`; by default that of the base."""
    mirror: Annotated[
        tuple[MirrorShape, ...],
        BeforeValidator(_as_mirrors, json_schema_input_type=str | tuple[MirrorShape, ...] | MirrorShape),
    ] = ()
    """Where the packages come from: a URL, a map, or a list of them. By default the sources of this machine's apt that
    are for the suite, its updates and its security updates."""
    components: ListOf[_Component] | None = None
    """Of the suite; by default those of this machine's sources, and `main` of a mirror."""
    keyring: _Keyring | None = None
    """A file of OpenPGP certificates that sign the suites, armored or not; else what this machine's apt trusts."""
    snapshot: _Snapshot | None = None
    """A moment of Debian's dated archive, like `20261101T000000Z`, in the place of `mirror`."""
    exclude: StringList = ()
    """Patterns of files of the packages to leave out, as in a .gitignore: `["/usr/share/doc/*", "!copyright"]`."""

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: object) -> object:
        if isinstance(value, list):
            return {"packages": value}
        if isinstance(value, str):
            raise InvalidValue(f"expected a list of packages or a map, found {describe(value)}", f"write [{value}]")
        return value

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if not self.packages:
            raise InvalidValue("`apt` names no packages", "name one, or remove `apt`")
        if self.snapshot is not None and self.mirror:
            raise InvalidValue("`snapshot` stands in the place of `mirror`", "remove one of them")
        return self
