"""Who may do what: rules that only ever allow, and the union of all that speak of a user.

    access:
      - {repository: "team/**", groups: [dev], actions: [pull, push]}
      - {repository: "**", users: ["*"], actions: [pull]}

`*` stands for a part of one component of a repository's name, `**` for any number of components.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Final

from layerkit.oci.scope import CATALOG, Scope

ANONYMOUS: Final = "anonymous"
"""The name of whoever does not sign in; no user may have it."""

SIGNED_IN: Final = "*"
"""In the `users` of a rule: everybody but the anonymous."""

EVERY_REPOSITORY: Final = "**"


_PARTS: Final = re.compile(r"(?<![^/])\*\*/|\*\*|\*|[^*]+")
_WILDCARDS: Final = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}


class Action(StrEnum):
    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"


ALL_ACTIONS: Final = frozenset(Action)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """These users, and the members of these groups, may do these actions in the repositories of this pattern."""

    repository: str
    actions: frozenset[Action]
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rights:
    """What one user may do: the rules that speak of this user."""

    rules: tuple[Rule, ...] = ()
    is_signed_in: bool = True

    def actions_in(self, repository: str) -> frozenset[Action]:
        """In a repository, whether that exists or not."""
        found: frozenset[Action] = frozenset()
        for rule in self.rules:
            if rule.repository == EVERY_REPOSITORY or _compile(rule.repository).fullmatch(repository):
                found |= rule.actions
        return found

    def permit(self, scope: Scope) -> bool:
        """Whether all that the scope asks for may be done."""
        if scope.type == "repository":
            return bool(scope.actions) and scope.actions <= self.actions_in(scope.name)
        return scope == CATALOG and self.has_any

    def grant(self, scopes: Iterable[Scope]) -> tuple[Scope, ...]:
        """What of `scopes` may be had. Scopes of other things than repositories and the catalog are left out."""
        granted = []
        for scope in scopes:
            if scope == CATALOG and self.has_any:
                granted.append(CATALOG)
            elif scope.type == "repository":
                allowed = frozenset(map(str, self.actions_in(scope.name)))
                actions = allowed if "*" in scope.actions else allowed & scope.actions
                if actions:
                    granted.append(Scope("repository", scope.name, actions))
        return tuple(granted)

    @property
    def has_any(self) -> bool:
        """Whether there are any. Who signed in may at least see that there is nothing."""
        return self.is_signed_in or bool(self.rules)

    @property
    def pulls_everything(self) -> bool:
        return any(rule.repository == EVERY_REPOSITORY and Action.PULL in rule.actions for rule in self.rules)


@dataclass(frozen=True, slots=True)
class Access:
    """All rules together. What the anonymous may do, everybody may."""

    rules: tuple[Rule, ...] = ()
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def rights_of(self, user: str) -> Rights:
        names = {ANONYMOUS} if user == ANONYMOUS else {ANONYMOUS, SIGNED_IN, user}
        groups = {group for group, members in self.groups.items() if user in members}
        rules = (rule for rule in self.rules if rule.users & names or rule.groups & groups)
        return Rights(tuple(rules), is_signed_in=user != ANONYMOUS)


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> re.Pattern[str]:
    """`a/**` is everything below `a`, `**/a` an `a` at any depth, the top included, `a-*` one component."""
    return re.compile("".join(_WILDCARDS.get(part) or re.escape(part) for part in _PARTS.findall(pattern)))
