"""References: how people name images.

`[domain/]path[:tag][@digest]`. Source: distribution/reference, `reference.go`, `normalize.go` and `regexp.go`, whose
grammar and normalisation (docker.io, library/) docker, containerd and podman share.
"""

import re
from typing import Final, NewType

import msgspec

from layerkit.oci.digest import Digest, shorten
from layerkit.oci.errors import NameInvalid, OCIError, TagInvalid

Tag = NewType("Tag", str)
"""A checked tag."""

RepositoryName = NewType("RepositoryName", str)
"""A checked path of a repository within its registry, like `library/debian`."""

DOCKER_HUB: Final = "docker.io"
DOCKER_HUB_HOST: Final = "registry-1.docker.io"
DEFAULT_TAG: Final = Tag("latest")
MAX_NAME: Final = 255

_COMPONENT: Final = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_LABEL: Final = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_DOMAIN: Final = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?\Z")
_BARE_DIGEST: Final = re.compile(r"(?:sha256:)?([a-f0-9]{64})\Z")


def parse_repository_name(text: str) -> RepositoryName:
    """Raises NameInvalid (distribution-spec, "Pulling manifests": `<name>`)."""
    if len(text) > MAX_NAME:
        raise NameInvalid(f"invalid repository name {shorten(text)}: longer than {MAX_NAME} characters")
    if not _PATH.match(text):
        lower = text.lower()
        hint = f" (did you mean {lower}?)" if lower != text and _PATH.match(lower) else ""
        raise NameInvalid(
            f"invalid repository name {shorten(text)}: components of a-z and 0-9, parted by single . _ or __ or -, "
            f"are joined by /{hint}"
        )
    return RepositoryName(text)


def parse_tag(text: str) -> Tag:
    """Raises TagInvalid (distribution-spec, "Pulling manifests": `<reference>`)."""
    if not _TAG.match(text):
        raise TagInvalid(f"invalid tag {shorten(text)}: up to 128 of A-Z a-z 0-9 _ . - and no . or - at its beginning")
    return Tag(text)


def parse_tag_or_digest(text: str) -> Tag | Digest:
    """What stands behind `manifests/` in a URL. Raises TagInvalid or DigestInvalid."""
    return Digest(text) if ":" in text else parse_tag(text)


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """`domain` is the registry's name with its port, `path` the repository within it.

    Where both a tag and a digest are given the digest decides.
    """

    domain: str
    path: RepositoryName
    tag: Tag | None = None
    digest: Digest | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"

    @property
    def name(self) -> str:
        """`domain/path`."""
        return f"{self.domain}/{self.path}"

    @property
    def host(self) -> str:
        """The host, with its port, that answers for `domain`."""
        return DOCKER_HUB_HOST if self.domain == DOCKER_HUB else self.domain

    @property
    def target(self) -> Tag | Digest:
        """What to ask the repository for: the digest, else the tag, else `latest`."""
        return self.digest or self.tag or DEFAULT_TAG

    def familiar(self) -> str:
        """The short form in which docker shows it: without docker.io and library/, where it still means the same."""
        short = str(self).removeprefix(f"{DOCKER_HUB}/")
        short = short.removeprefix("library/") if short.count("/") == 1 else short
        return short if _means(short, self) else str(self)

    def with_default_tag(self) -> "Reference":
        """With `latest` where it names neither a tag nor a digest."""
        return self if self.tag or self.digest else msgspec.structs.replace(self, tag=DEFAULT_TAG)

    def at(self, digest: Digest) -> "Reference":
        """The same repository at `digest`, without a tag."""
        return msgspec.structs.replace(self, tag=None, digest=digest)


def parse_reference(text: str) -> Reference:
    """A reference as people type it. Raises NameInvalid, TagInvalid or DigestInvalid, with advice."""
    if text != text.strip() or not text:
        raise NameInvalid(f"invalid reference {shorten(text)}: {'empty' if not text.strip() else 'spaces around it'}")
    if "://" in text:
        meant = shorten(text.partition("://")[2])
        raise NameInvalid(f"invalid reference {shorten(text)}: no scheme, please (did you mean {meant}?)")
    if bare := _BARE_DIGEST.match(text):
        raise NameInvalid(f"invalid reference {text}: a digest is no name (did you mean NAME@sha256:{bare[1][:8]}...?)")
    rest, at, digest = text.partition("@")
    domain, path_and_tag = _split_domain(rest)
    path, colon, tag = path_and_tag.partition(":")
    if domain == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    reference = Reference(
        domain=domain,
        path=parse_repository_name(path),
        tag=parse_tag(tag) if colon else None,
        digest=Digest(digest) if at else None,
    )
    if len(reference.name) > MAX_NAME:
        raise NameInvalid(f"invalid reference {shorten(text)}: registry and name are longer than {MAX_NAME} characters")
    return reference


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, remainder = name.partition("/")
    # `.`, `:`, "localhost" or an upper-case letter tell a registry from the first part of a path.
    is_domain = bool(slash) and (any(c in first for c in ".:") or first == "localhost" or first.lower() != first)
    if not is_domain:
        return DOCKER_HUB, name
    if not _DOMAIN.match(first):
        raise NameInvalid(f"invalid registry {shorten(first)}: expected HOST or HOST:PORT")
    if first == "index.docker.io":
        first = DOCKER_HUB
    return first, remainder


def _means(text: str, reference: Reference) -> bool:
    # Of docker.io/localhost/web nothing may be left out: localhost/web is on another registry.
    try:
        return parse_reference(text) == reference
    except OCIError:
        return False


def has_explicit_domain(text: str) -> bool:
    """Whether the reference names its registry, rather than leaving it to docker.io."""
    name = text.partition("@")[0]
    return _split_domain(name)[1] != name
