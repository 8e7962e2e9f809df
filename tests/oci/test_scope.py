"""Token scopes and WWW-Authenticate challenges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.oci.scope import (
    CATALOG,
    Challenge,
    Scope,
    bearer_challenge,
    parse_challenges,
    parse_scope,
    parse_scopes,
    repository_scope,
)

TOKEN = r"[!#$%&'*+.^_`|~0-9a-z-]+"
names = st.sampled_from(["a", "library/debian", "host:5000/a/b", "catalog"]) | st.from_regex(
    r"[a-z0-9./:_-]+", fullmatch=True
)
scopes = st.builds(
    Scope,
    st.sampled_from(["repository", "registry", "repository(plugin)"]),
    names,
    st.frozensets(st.sampled_from(["pull", "push", "delete", "*"])),
)
challenges = st.builds(
    Challenge,
    st.from_regex(TOKEN, fullmatch=True),
    st.dictionaries(st.from_regex(TOKEN, fullmatch=True), st.text(), max_size=3),
)


# Scopes


@given(scopes)
def test_a_scope_is_read_back_as_it_was_written(scope: Scope) -> None:
    assert parse_scope(str(scope)) == scope


@given(st.lists(scopes, max_size=4))
def test_a_list_of_scopes_is_parted_by_spaces(several: list[Scope]) -> None:
    assert parse_scopes(" ".join(map(str, several))) == tuple(several)


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("repository:library/debian:pull,push", repository_scope("library/debian", "push", "pull")),
        ("repository:host:5000/name:pull", repository_scope("host:5000/name", "pull")),
        ("repository(plugin):a/b:pull", Scope("repository(plugin)", "a/b", frozenset({"pull"}))),
        ("registry:catalog:*", CATALOG),
        ("repository:a:", Scope("repository", "a", frozenset())),
        ("repository:a:pull,,pull,", repository_scope("a", "pull")),
    ],
)
def test_a_scope_has_a_type_a_name_and_actions(text: str, scope: Scope) -> None:
    """`resourcescope := resourcetype ":" resourcename ":" action *("," action)` (distribution, scope.md)."""
    assert parse_scope(text) == scope


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "::",
        "repository",
        "repository:a",
        "repository::pull",
        ":a:pull",
        "Repository:a:pull",
        "repository():a:pull",
        "repository:a:PULL",
        "repository:a:**",
        "repository:a:pull push",
        "repository:a:pull\n",
        "repository:a b:pull",
    ],
)
def test_what_is_no_scope_is_refused_and_in_a_list_left_out(text: str) -> None:
    """ "Unknown scope types ignored": a token is granted for what is understood."""
    with pytest.raises(ValueError, match="expected TYPE:NAME:ACTION"):
        parse_scope(text)
    if not any(space in text for space in " \n"):
        assert parse_scopes(f"repository:b:pull {text} {CATALOG}") == (repository_scope("b", "pull"), CATALOG)


@given(st.text())
def test_any_text_is_a_list_of_scopes(text: str) -> None:
    again = parse_scopes(text)
    assert parse_scopes(" ".join(map(str, again))) == again


@given(scopes, scopes)
def test_a_scope_covers_what_asks_no_more_of_the_same_resource(held: Scope, asked: Scope) -> None:
    same = (held.type, held.name) == (asked.type, asked.name)
    assert held.covers(held)
    assert held.covers(asked) is (same and ("*" in held.actions or held.actions | asked.actions == held.actions))


# Challenges


def test_the_bearer_challenge_has_the_exact_form_that_clients_expect() -> None:
    """ "Exact form `Bearer realm="...",service="...",scope="repository:name:pull,push"` - quoted, one header"."""
    challenge = bearer_challenge(
        realm="https://r.example/token",
        service="r.example",
        scopes=(repository_scope("name", "push", "pull"),),
        error="insufficient_scope",
    )
    assert str(challenge) == (
        'Bearer realm="https://r.example/token",service="r.example",scope="repository:name:pull,push",'
        'error="insufficient_scope"'
    )


def test_scopes_are_parted_by_spaces_and_what_is_empty_is_left_out() -> None:
    several = (repository_scope("a", "pull"), CATALOG)
    challenge = bearer_challenge(realm="https://r/token", service="r", scopes=several)
    assert challenge.parameters["scope"] == "repository:a:pull registry:catalog:*"
    assert parse_scopes(challenge.parameters["scope"]) == several
    assert str(bearer_challenge(realm="https://r/token", service="r")) == 'Bearer realm="https://r/token",service="r"'


@given(challenges)
def test_a_challenge_is_read_back_as_it_was_written(challenge: Challenge) -> None:
    assert parse_challenges(str(challenge)) == (challenge,)


@given(st.lists(challenges, max_size=4), st.sampled_from([",", ", ", " , ", ",,"]))
def test_several_challenges_of_one_header_are_told_apart(several: list[Challenge], comma: str) -> None:
    """ "A server MAY generate multiple challenges ... in one field" (RFC 9110, section 11.6.1)."""
    assert parse_challenges(comma.join(map(str, several))) == tuple(several)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://r.io/token",service="r.io",scope="repository:a/b:pull,push"',
            [("bearer", {"realm": "https://r.io/token", "service": "r.io", "scope": "repository:a/b:pull,push"})],
        ),
        ('Basic realm="Registry Realm"', [("basic", {"realm": "Registry Realm"})]),
        ('BASIC REALM="x", charset="UTF-8"', [("basic", {"realm": "x", "charset": "UTF-8"})]),
        ("Basic realm=simple", [("basic", {"realm": "simple"})]),
        ('Basic realm = "x" , a=b', [("basic", {"realm": "x", "a": "b"})]),
        ('Bearer realm="a" service="b"', [("bearer", {"realm": "a", "service": "b"})]),
        (r'Basic realm="say \"hi\", \\o/"', [("basic", {"realm": r'say "hi", \o/'})]),
        ('Basic realm="a", Bearer realm="b",x=y', [("basic", {"realm": "a"}), ("bearer", {"realm": "b", "x": "y"})]),
        ("Negotiate, NTLM", [("negotiate", {}), ("ntlm", {})]),
        ('Negotiate YWJj==, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Negotiate, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Bearer realm="a",realm="b"', [("bearer", {"realm": "a"})]),
        ("", []),
        (",", []),
        ("Basic", [("basic", {})]),
        ('="x"', []),
        ('Bearer realm="unterminated', [("bearer", {})]),
    ],
)
def test_challenges_are_read_as_servers_send_them(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(each.scheme, dict(each.parameters)) for each in parse_challenges(header)] == expected


@given(st.text() | st.text(alphabet='Basic realm="x",\\ =\t'))
def test_any_header_is_a_list_of_challenges(header: str) -> None:
    for challenge in parse_challenges(header):
        assert challenge.scheme
        assert parse_challenges(str(challenge)) == (challenge,)
