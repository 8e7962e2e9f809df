"""The shape of a spec: which keys may stand where.

These are the models that validate a file, and nobody but `assemble` and `schema` sees them. Each Section knows the
words that other dialects (Dockerfile, compose, Kubernetes, the image config's JSON) have for its keys: SPEC, rule 1.
The order of the keys is that of the errors and of the JSON Schema, and the text below a key is what editors show.
"""

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, model_validator

from layerkit.document.problem import InvalidValue
from layerkit.document.tree import describe
from layerkit.document.types import ListOf, MapOf, Section, Text, TextMap
from layerkit.oci.platform import Platform
from layerkit.oci.reference import Reference, RepositoryName
from layerkit.spec import accounts, text
from layerkit.spec.bases import parse_base
from layerkit.spec.model import Base, Compression
from layerkit.spec.shape_config import ConfigShape
from layerkit.spec.shape_layer import LayerShape
from layerkit.spec.shape_types import Account, Id, OwnedShape, numbered, parsed

_COMPRESSION: Final = "^(gzip(:([1-9]|fast))?|zstd(:([1-9]|1[0-9]))?|estargz(:[1-9])?|none)$"


class UserShape(Section):
    short_form: ClassVar = {"type": ["integer", "string"], "description": "The user's number."}
    other_words: ClassVar = {
        "id": "uid",
        "group_id": "gid",
        "homedir": "home",
        "home_dir": "home",
        "directory": "home",
        "extra_groups": "groups",
        "supplementary": "groups",
    }

    uid: Id
    """The user's number."""
    gid: Id | None = None
    """The number of the primary group; that of the user by default."""
    group: Account | None = None
    """The name of the primary group; that of the user by default."""
    home: Annotated[str, parsed(accounts.parse_account_path, "^/")] | None = None
    """Home directory, `/` by default. It is not made: use `directory` in a layer."""
    shell: Annotated[str, parsed(accounts.parse_account_path, "^/")] | None = None
    """Login shell, `/usr/sbin/nologin` by default."""
    groups: ListOf[Account] = ()
    """Further groups, by name: of `users:` or of the base."""

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: object) -> object:
        """`app: 10001` is a user of this number, with a group of the same."""
        if isinstance(value, str):
            if not re.fullmatch(r"[0-9]+", value):
                raise InvalidValue(f"expected a UID or a map, found {describe(value)}", "write it like {uid: 10001}")
            return {"uid": value}
        return value


_IMAGE_WORDS: Mapping[str, str] = {
    "image": "from",
    "base": "from",
    "base_image": "from",
    "apt": "layers",
    "packages": "layers",
    "python": "layers",
    "pip": "layers",
    "copy": "layers",
    "files": "layers",
    "add": "layers",
    "fetch": "layers",
    "directory": "layers",
    "symlink": "layers",
    "remove": "layers",
    "steps": "layers",
    "layer": "layers",
    "arch": "platforms",
    "archs": "platforms",
    "accounts": "users",
    "command": "config.cmd",
    "environment": "config.env",
    "working_dir": "config.workdir",
    "workingdir": "config.workdir",
    "ports": "config.expose",
    **{key: f"config.{key}" for key in ConfigShape.model_fields if key not in {"labels", "user"}},
    "user": "config.user",
}


class PartShape(OwnedShape):
    """What an image under `images:` and the defaults are, before the one is merged into the other."""

    other_words: ClassVar[Mapping[str, str]] = _IMAGE_WORDS
    elsewhere: ClassVar[Mapping[str, str]] = {
        "name": "an image under `images:` is named by its key",
        "vars": "`vars:` stands at the top of the file, for all images",
        "defaults": "`defaults:` stands at the top of the file, beside `images:`",
        "images": "`images:` stands at the top of the file",
    }

    base: Annotated[Base, parsed(parse_base)] | None = Field(default=None, alias="from")
    """What to build on: `scratch`, a reference, `oci:DIR`, `oci-archive:FILE`, `docker-archive:FILE`, `tar:FILE`,
    `store:REF` or another image of this file."""
    tags: ListOf[Annotated[Reference, parsed(text.parse_tag_reference)]] = ()
    """References under which to keep and push the image."""
    platforms: ListOf[Annotated[Platform, parsed(text.parse_platform_text, "^[^/]+/[^/]+(/[^/]+)?$")]] = ()
    """Platforms to build for, like `linux/arm64`. Several make an index; by default that of this machine."""
    users: MapOf[Account, UserShape] = Field(default_factory=dict)
    """Users to add to the base's: a UID, or a map."""
    layers: ListOf[LayerShape] = ()
    """The layers, from the bottom to the top."""
    config: ConfigShape | None = None
    """How the image runs."""
    labels: TextMap = Field(default_factory=dict)
    """Labels of the image, added to the base's."""
    annotations: TextMap = Field(default_factory=dict)
    """Annotations of the manifest, and of the index."""
    timestamp: Annotated[int | Literal["git"], numbered(text.parse_timestamp)] = 0
    """The `created` of the image: `epoch` (default), `git` for the time of the commit, or seconds since 1970."""
    compression: Annotated[Compression, parsed(text.parse_compression, _COMPRESSION)] = Field(
        default_factory=Compression
    )
    """How to compress the new layers: `gzip` (default), `gzip:1` to `gzip:9`, `gzip:fast` (its bytes depend on the
    CPU), `zstd`, `zstd:1` to `zstd:19`, `estargz`, `estargz:1` to `estargz:9` or `none`."""


class ImageShape(PartShape):
    """An image under `images:`, complete."""

    base: Annotated[Base, parsed(parse_base)] = Field(alias="from")
    """What to build on: `scratch`, a reference, `oci:DIR`, `oci-archive:FILE`, `docker-archive:FILE`, `tar:FILE`,
    `store:REF` or another image of this file."""


class SpecShape(ImageShape):
    """A file that describes one image."""

    other_words: ClassVar = {**_IMAGE_WORDS, "args": "vars", "arg": "vars", "variables": "vars", "default": "defaults"}
    elsewhere: ClassVar = {"defaults": "with one image there is nothing to share: move its keys up, to the top"}

    name: Annotated[RepositoryName, parsed(text.parse_name)] | None = None
    """Name of the image; by default that of the file, and of its folder for `layerkit.yaml`."""
    # Checked by `variables`, before anything else is: no value above has its variables in place before.
    vars: MapOf[Text, Text | None] = Field(default_factory=dict)
    """Variables for `${NAME}`, with their values; one without a value needs --var NAME=VALUE."""


class FileShape(Section):
    """A file that describes several images. It is taken apart before it is validated: `images`."""

    vars: MapOf[Text, Text | None] = Field(default_factory=dict)
    """Variables for `${NAME}`, with their values; one without a value needs --var NAME=VALUE."""
    defaults: PartShape | None = None
    """Merged into every image: maps merge, all else is replaced by what the image says."""
    images: MapOf[Annotated[str, parsed(text.parse_name)], PartShape]
    """The images, by name."""
