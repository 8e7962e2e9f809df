"""The rules: what they mean for a user and a repository."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.oci.scope import CATALOG, Scope, parse_scopes, repository_scope
from registry.policy.access import ALL_ACTIONS, ANONYMOUS, Access, Action, Rule

PULL = frozenset({Action.PULL})
PULL_AND_PUSH = frozenset({Action.PULL, Action.PUSH})


def rule(repository: str, *users: str, actions: frozenset[Action] = ALL_ACTIONS, group: str = "") -> Rule:
    groups = frozenset({group}) if group else frozenset[str]()
    return Rule(repository=repository, users=frozenset(users), groups=groups, actions=actions)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("**", ["a", "a/b/c"], []),
        ("*", ["a", "a.b"], ["a/b"]),
        ("team/*", ["team/a"], ["team", "team/a/b", "teams/a", "x/team/a"]),
        ("team/**", ["team/a", "team/a/b"], ["team", "teams/a"]),
        ("**/app", ["app", "a/app", "a/b/app"], ["a/happ", "app/a"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["a", "az", "b/z", "a/bz"]),
        ("app-*", ["app-", "app-1"], ["app", "app-1/x"]),
        ("a/*/c*", ["a/b/c", "a/b/cd"], ["a/c", "a/b/b/c"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_patterns_are_of_components(pattern: str, matching: list[str], others: list[str]) -> None:
    access = Access((rule(pattern, "ann"),))
    for name in matching:
        assert access.rights_of("ann").actions_in(name) == ALL_ACTIONS, name
    for name in others:
        assert access.rights_of("ann").actions_in(name) == frozenset(), name


def test_rules_add_up_in_any_order() -> None:
    rules = (rule("**", "*", actions=PULL), rule("team/**", group="dev", actions=PULL_AND_PUSH), rule("team/x", "ann"))
    for order in (rules, rules[::-1]):
        access = Access(order, {"dev": frozenset({"ann", "bob"})})
        assert access.rights_of("ann").actions_in("team/x") == ALL_ACTIONS
        assert access.rights_of("bob").actions_in("team/x") == PULL_AND_PUSH
        assert access.rights_of("cid").actions_in("team/x") == PULL
        assert access.rights_of("bob").actions_in("other") == PULL
        assert access.rights_of(ANONYMOUS).actions_in("team/x") == frozenset()


def test_what_the_anonymous_may_do_everybody_may() -> None:
    access = Access((rule("public/**", ANONYMOUS, actions=PULL),))
    for user in (ANONYMOUS, "ann"):
        assert access.rights_of(user).actions_in("public/a") == PULL
        assert access.rights_of(user).actions_in("private") == frozenset()


def test_no_rule_allows_nothing() -> None:
    assert Access().rights_of("ann").actions_in("a") == frozenset()
    assert not Access().rights_of(ANONYMOUS).has_any


def test_a_grant_is_the_intersection() -> None:
    """WIRE 8: "Grant the *intersection*, never fail, for scopes"; "Unknown scope types ignored"."""
    access = Access((rule("a", "ann", actions=PULL_AND_PUSH), rule("b", "ann", actions=PULL)))
    asked = parse_scopes(
        "repository:a:pull,push,delete repository:b:pull,push repository:c:pull registry:catalog:* "
        "registry:other:* repository(plugin):a:pull repository:a:*"
    )
    assert access.rights_of("ann").grant(asked) == (
        repository_scope("a", "pull", "push"),
        repository_scope("b", "pull"),
        CATALOG,
        repository_scope("a", "pull", "push"),
    )
    assert access.rights_of(ANONYMOUS).grant(asked) == ()


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (repository_scope("a", "pull", "push"), True),
        (repository_scope("a", "pull", "push", "delete"), False),
        (repository_scope("b", "pull"), False),
        (CATALOG, True),
        (Scope("registry", "other", frozenset({"*"})), False),
    ],
)
def test_a_scope_is_permitted_whole_or_not_at_all(scope: Scope, expected: bool) -> None:
    assert Access((rule("a", "ann", actions=PULL_AND_PUSH),)).rights_of("ann").permit(scope) is expected


def test_everything_is_only_what_a_rule_says_is_everything() -> None:
    access = Access((rule("**", "ann", actions=PULL), rule("*", "bob")))
    assert access.rights_of("ann").pulls_everything
    assert not access.rights_of("bob").pulls_everything
    assert not access.rights_of(ANONYMOUS).pulls_everything


NAMES = st.sampled_from(["a", "b", "a/b", "team/a", "team/a/b", "app-1"])
SCOPES = st.builds(
    Scope, st.just("repository"), NAMES, st.frozensets(st.sampled_from(["pull", "push", "delete", "*", "fly"]))
)
RULES = st.lists(
    st.builds(
        Rule,
        repository=st.sampled_from(["**", "*", "team/**", "team/*", "**/b", "a", "app-*"]),
        users=st.frozensets(st.sampled_from(["ann", "bob", "*", ANONYMOUS]), max_size=2),
        groups=st.frozensets(st.just("dev"), max_size=1),
        actions=st.frozensets(st.sampled_from(list(Action))),
    ),
    max_size=5,
)


@given(RULES, st.lists(SCOPES, max_size=4), st.sampled_from(["ann", "bob", ANONYMOUS]))
def test_whatever_the_rules_nothing_is_granted_that_was_not_asked_for_and_nobody_gets_less_than_the_anonymous(
    rules: list[Rule], scopes: list[Scope], user: str
) -> None:
    access = Access(tuple(rules), {"dev": frozenset({"ann"})})
    rights = access.rights_of(user)
    for scope in scopes:
        for granted in rights.grant([scope]):
            assert granted.name == scope.name
            assert granted.actions <= scope.actions or "*" in scope.actions
            assert granted.actions <= set(map(str, rights.actions_in(scope.name)))
            assert rights.permit(granted)
    assert rights.grant(scopes) == tuple(granted for scope in scopes for granted in rights.grant([scope]))
    for name in ("a", "team/a/b"):
        assert access.rights_of(ANONYMOUS).actions_in(name) <= rights.actions_in(name)
