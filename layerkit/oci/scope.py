"""Token scopes and WWW-Authenticate challenges, in both directions.

Sources: distribution, docs/content/spec/auth/scope.md and token.md; RFC 9110, section 11.6.1.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - the grammar's word for a word
_TOKEN68: Final = r"[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|\Z))"
_CHALLENGE: Final = re.compile(rf"[\s,]*({_TOKEN})(?:\s+(?:{_TOKEN68})?|\Z|(?=,))")
_PARAMETER: Final = re.compile(rf"[\s,]*({_TOKEN})\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|({_TOKEN}))", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_TYPE: Final = re.compile(r"[a-z0-9]+(?:\([a-z0-9]+\))?\Z")
_NAME: Final = re.compile(r"\S+\Z")
_ACTION: Final = re.compile(r"[a-z]+\Z|\*\Z")


class Scope(msgspec.Struct, frozen=True, order=True):
    """Actions on one resource: `repository:library/debian:pull,push`, `registry:catalog:*`."""

    type: str
    name: str
    actions: frozenset[str]

    def __str__(self) -> str:
        return f"{self.type}:{self.name}:{','.join(sorted(self.actions))}"

    def covers(self, other: "Scope") -> bool:
        """Whether whoever has this scope may do all that `other` asks."""
        same = (self.type, self.name) == (other.type, other.name)
        return same and ("*" in self.actions or other.actions <= self.actions)


def repository_scope(name: str, *actions: str) -> Scope:
    """The scope of `actions` ("pull", "push", "delete") on a repository."""
    return Scope("repository", name, frozenset(actions))


CATALOG: Final = Scope("registry", "catalog", frozenset({"*"}))


def parse_scope(text: str) -> Scope:
    """`type:name:action,...`; the name may itself hold colons (`host:port/path`). Raises ValueError."""
    kind, _, rest = text.partition(":")
    name, last, actions = rest.rpartition(":")
    words = frozenset(word for word in actions.split(",") if word)
    if not last or not _TYPE.match(kind) or not _NAME.match(name) or not all(_ACTION.match(word) for word in words):
        raise ValueError(f"invalid scope {text[:160]!r}: expected TYPE:NAME:ACTION,...")
    return Scope(kind, name, words)


def parse_scopes(text: str) -> tuple[Scope, ...]:
    """The scopes of a space-separated list; what is not of their form is left out, as servers do."""
    scopes = []
    for word in text.split():
        try:
            scopes.append(parse_scope(word))
        except ValueError:
            continue
    return tuple(scopes)


class Challenge(msgspec.Struct, frozen=True):
    """How a server wants to be asked: `scheme` in lower case, parameters by their lower-case names."""

    scheme: str
    parameters: Mapping[str, str] = msgspec.field(default_factory=dict)

    def __str__(self) -> str:
        quoted = ",".join(f'{name}="{_escape(value)}"' for name, value in self.parameters.items())
        return f"{self.scheme.capitalize()} {quoted}".rstrip()


def bearer_challenge(*, realm: str, service: str, scopes: tuple[Scope, ...] = (), error: str = "") -> Challenge:
    """The exact form that clients expect: every value quoted, one header."""
    parameters = {"realm": realm, "service": service}
    if scopes:
        parameters["scope"] = " ".join(map(str, scopes))
    if error:
        parameters["error"] = error
    return Challenge("bearer", parameters)


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Every challenge of a WWW-Authenticate header; what is not of the grammar ends the list."""
    challenges = []
    position = 0
    while (start := _CHALLENGE.match(header, position)) is not None:
        position = start.end()
        parameters: dict[str, str] = {}
        while (parameter := _PARAMETER.match(header, position)) is not None:
            value = parameter[3] if parameter[3] is not None else _ESCAPED.sub(r"\1", parameter[2])
            parameters.setdefault(parameter[1].lower(), value)
            position = parameter.end()
        challenges.append(Challenge(start[1].lower(), parameters))
    return tuple(challenges)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
