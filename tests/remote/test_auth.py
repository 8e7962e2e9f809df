"""The conversation with a registry that asks who we are, driven by hand: no I/O."""

import base64
import json
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from layerkit.oci.errors import Denied, OCIError, Unauthorized
from layerkit.oci.scope import Scope, repository_scope
from layerkit.remote.auth import Authenticator, Call, Conversation, Credentials, Reply

PULL = frozenset({repository_scope("acme/web", "pull")})
PUSH = frozenset({repository_scope("acme/web", "pull", "push")})
OTHER = frozenset({repository_scope("acme/other", "pull")})
BEARER = 'Bearer realm="https://auth.example/token",service="registry.example",scope="repository:acme/web:pull"'
BASIC = 'Basic realm="registry"'
ALICE = Credentials("alice", "s3cret")
OK = Reply(200)


class Clock:
    """Stands still, unless a test moves it."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def authenticator(
    credentials: Credentials | None = None, *, allow_http: bool = False, clock: Clock | None = None
) -> Authenticator:
    return Authenticator("registry.example", credentials, allow_http=allow_http, clock=clock or Clock())


def refused(challenges: str = BEARER) -> Reply:
    return Reply(401, challenges)


def granted(token: str = "t1", field: str = "token") -> Reply:
    return Reply(200, body=json.dumps({field: token, "expires_in": 300}).encode())


def end(conversation: Conversation, reply: Reply) -> Reply:
    """The last reply, which must end the conversation."""
    with pytest.raises(StopIteration) as caught:
        conversation.send(reply)
    found = caught.value.value
    assert isinstance(found, Reply)
    return found


def obtain(who: Authenticator, scopes: frozenset[Scope], token: str) -> None:
    """A whole conversation in which the registry asks for a token and the service gives this one."""
    conversation = who.converse(scopes)
    if not next(conversation).url:
        assert conversation.send(refused()).url
    assert conversation.send(granted(token)) == bearer(token)
    assert end(conversation, OK) == OK


def obtain_for(who: Authenticator, lifetime: str) -> None:
    """A conversation in which the token lasts as long as this JSON says."""
    conversation = who.converse(PULL)
    next(conversation)
    conversation.send(refused())
    assert conversation.send(Reply(200, body=f'{{"token":"t1","expires_in":{lifetime}}}'.encode())) == bearer("t1")


def asked_by_get(who: Authenticator) -> Conversation:
    """A conversation in which the service, which knows no POST, is being asked for a token."""
    conversation = who.converse(PULL)
    next(conversation)
    assert conversation.send(refused()).method == "POST"
    assert conversation.send(Reply(405)).method == "GET"
    return conversation


def bearer(token: str) -> Call:
    return Call(headers={"Authorization": f"Bearer {token}"})


def basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def token_call(credentials: Credentials | None, challenges: str = BEARER, *, allow_http: bool = False) -> Call:
    """What is asked of the token service after a challenge."""
    conversation = authenticator(credentials, allow_http=allow_http).converse(PULL)
    next(conversation)
    return conversation.send(refused(challenges))


class TestWithoutAToken:
    def test_a_registry_that_asks_nothing_is_told_nothing(self) -> None:
        conversation = authenticator(ALICE).converse(PULL)
        assert next(conversation) == Call()
        assert end(conversation, OK) == OK

    @pytest.mark.parametrize("status", [200, 206, 307, 403, 404, 429, 500])
    def test_only_a_401_is_answered(self, status: int) -> None:
        conversation = authenticator(ALICE).converse(PULL)
        next(conversation)
        assert end(conversation, Reply(status, BEARER)) == Reply(status, BEARER)

    @pytest.mark.parametrize("challenges", ["", "Negotiate", "garbage=", ",,,", '"', "Digest realm=x"])
    def test_a_challenge_that_nobody_can_answer_ends_with_the_401(self, challenges: str) -> None:
        conversation = authenticator(ALICE).converse(PULL)
        next(conversation)
        assert end(conversation, refused(challenges)).status == 401

    def test_basic_is_answered_and_then_sent_at_once(self) -> None:
        who = authenticator(ALICE)
        conversation = who.converse(PULL)
        next(conversation)
        expected = Call(headers={"Authorization": basic("alice:s3cret")})
        assert conversation.send(refused(BASIC)) == expected
        assert end(conversation, OK) == OK
        assert next(who.converse(OTHER)) == expected

    def test_a_password_may_have_any_character(self) -> None:
        conversation = authenticator(Credentials("jörg", "p:ss wörd")).converse(PULL)
        next(conversation)
        assert conversation.send(refused(BASIC)).headers["Authorization"] == basic("jörg:p:ss wörd")

    @pytest.mark.parametrize("credentials", [None, Credentials(identity_token="id")])
    def test_basic_without_a_password_ends_with_the_401(self, credentials: Credentials | None) -> None:
        conversation = authenticator(credentials).converse(PULL)
        next(conversation)
        assert end(conversation, refused(BASIC)).status == 401

    def test_a_refused_password_ends_with_the_second_401(self) -> None:
        who = authenticator(ALICE)
        conversation = who.converse(PULL)
        next(conversation)
        conversation.send(refused(BASIC))
        assert end(conversation, refused(BASIC)).status == 401
        later = who.converse(PULL)
        next(later)
        assert end(later, refused(BASIC)).status == 401

    def test_two_calls_at_once_both_answer_basic(self) -> None:
        who = authenticator(ALICE)
        first, second = who.converse(PULL), who.converse(OTHER)
        next(first)
        next(second)
        expected = Call(headers={"Authorization": basic("alice:s3cret")})
        assert first.send(refused(BASIC)) == expected
        assert second.send(refused(BASIC)) == expected


class TestAskingForAToken:
    def test_nobody_asks_without_saying_who(self) -> None:
        call = token_call(None)
        assert (call.method, call.headers, call.body) == ("GET", {}, b"")
        assert urlsplit(call.url)[:3] == ("https", "auth.example", "/token")
        assert parse_qsl(urlsplit(call.url).query) == [
            ("service", "registry.example"),
            ("scope", "repository:acme/web:pull"),
        ]

    def test_a_user_posts_name_and_password(self) -> None:
        """OAuth2 (distribution, docs/content/spec/auth/oauth.md)."""
        call = token_call(ALICE)
        assert (call.method, call.url) == ("POST", "https://auth.example/token")
        assert call.headers == {"Content-Type": "application/x-www-form-urlencoded"}
        assert parse_qs(call.body.decode()) == {
            "grant_type": ["password"],
            "service": ["registry.example"],
            "client_id": ["layerkit"],
            "scope": ["repository:acme/web:pull"],
            "username": ["alice"],
            "password": ["s3cret"],
        }

    @pytest.mark.parametrize("status", [400, 401, 404, 405])
    def test_a_service_without_post_is_asked_with_name_and_password_by_get(self, status: int) -> None:
        """WIRE 7: "404/401/400/405 -> falls back to GET"; once is enough to know."""
        who = authenticator(ALICE)
        conversation = who.converse(PULL)
        next(conversation)
        assert conversation.send(refused()).method == "POST"
        call = conversation.send(Reply(status, body=b'{"errors":[]}'))
        assert (call.method, call.headers) == ("GET", {"Authorization": basic("alice:s3cret")})
        assert ("account", "alice") in parse_qsl(urlsplit(call.url).query)
        assert "s3cret" not in call.url
        assert conversation.send(granted()) == bearer("t1")
        assert next(who.converse(OTHER)).method == "GET"

    @pytest.mark.parametrize("status", [400, 401])
    def test_a_post_that_was_understood_and_refused_is_not_asked_again(self, status: int) -> None:
        """Whoever counts wrong passwords would count each of ours twice."""
        conversation = authenticator(ALICE).converse(PULL)
        next(conversation)
        conversation.send(refused())
        with pytest.raises(Unauthorized, match="credentials of alice: log in again"):
            conversation.send(Reply(status, body=b'{"error":"invalid_grant"}'))

    @pytest.mark.parametrize("status", [403, 429, 500, 503])
    def test_other_answers_to_a_post_are_no_reason_to_ask_by_get(self, status: int) -> None:
        conversation = authenticator(ALICE).converse(PULL)
        next(conversation)
        conversation.send(refused())
        with pytest.raises(OCIError):
            conversation.send(Reply(status))

    def test_a_password_beside_an_identity_token_is_used_where_that_is_not_known(self) -> None:
        conversation = authenticator(Credentials("alice", "s3cret", "refresh me")).converse(PULL)
        next(conversation)
        assert b"refresh_token" in conversation.send(refused()).body
        assert conversation.send(Reply(404)).headers == {"Authorization": basic("alice:s3cret")}

    def test_an_identity_token_is_posted_as_a_form(self) -> None:
        """OAuth2 (distribution, docs/content/spec/auth/oauth.md)."""
        call = token_call(Credentials("alice", "", "refresh me"))
        assert (call.method, call.url) == ("POST", "https://auth.example/token")
        assert call.headers == {"Content-Type": "application/x-www-form-urlencoded"}
        assert parse_qs(call.body.decode()) == {
            "grant_type": ["refresh_token"],
            "service": ["registry.example"],
            "client_id": ["layerkit"],
            "scope": ["repository:acme/web:pull"],
            "refresh_token": ["refresh me"],
        }

    def test_what_the_registry_wants_beside_is_asked_for(self) -> None:
        challenge = 'Bearer realm="https://auth.example/token",scope="repository:acme/base:pull registry:catalog:*"'
        query = parse_qs(urlsplit(token_call(None, challenge).url).query)
        assert query == {"scope": ["registry:catalog:*", "repository:acme/base:pull", "repository:acme/web:pull"]}

    def test_the_query_of_a_realm_is_kept(self) -> None:
        challenge = 'Bearer realm="https://auth.example/token?tenant=a%20b",service="s"'
        query = urlsplit(token_call(None, challenge).url).query
        assert parse_qs(query) == {
            "tenant": ["a b"],
            "service": ["s"],
            "scope": ["repository:acme/web:pull"],
        }

    @pytest.mark.parametrize("order", [(BASIC, BEARER), (BEARER, BASIC)])
    def test_without_credentials_bearer_is_chosen_wherever_it_stands(self, order: tuple[str, str]) -> None:
        assert token_call(None, ", ".join(order)).url.startswith("https://auth.example/token?")

    @pytest.mark.parametrize(
        "realm",
        ["http://auth.example/token", "ftp://auth.example/", "/token", "", "auth.example", "file:///etc/passwd"],
    )
    def test_a_realm_that_is_not_https_is_refused(self, realm: str) -> None:
        with pytest.raises(Unauthorized, match="not https") as caught:
            token_call(ALICE, f'Bearer realm="{realm}"')
        assert repr(realm) in caught.value.message

    def test_a_realm_that_is_no_url_is_refused(self) -> None:
        with pytest.raises(Unauthorized, match="not https"):
            token_call(ALICE, 'Bearer realm="https://[bad/token"')

    def test_a_plain_http_realm_is_used_where_plain_http_is_allowed(self) -> None:
        call = token_call(None, 'Bearer realm="http://127.0.0.1:5001/token"', allow_http=True)
        assert call.url.startswith("http://127.0.0.1:5001/token?")

    def test_a_realm_of_another_scheme_is_refused_even_then(self) -> None:
        with pytest.raises(Unauthorized, match="not https"):
            token_call(ALICE, 'Bearer realm="ftp://127.0.0.1/token"', allow_http=True)


class TestTheServiceAnswers:
    @pytest.mark.parametrize("field", ["token", "access_token"])
    def test_either_field_is_the_token(self, field: str) -> None:
        conversation = authenticator().converse(PULL)
        next(conversation)
        conversation.send(refused())
        assert conversation.send(granted("t1", field)) == bearer("t1")

    def test_a_field_may_be_null_where_the_other_is_not(self) -> None:
        conversation = authenticator().converse(PULL)
        next(conversation)
        conversation.send(refused())
        assert conversation.send(Reply(200, body=b'{"token":null,"access_token":"t1"}')) == bearer("t1")

    @pytest.mark.parametrize(
        "body",
        [b"", b"<html>", b"[]", b"null", b'{"token":1}', b"\xff", b"[" * 100_000, b'{"token":"half'],
        ids=["empty", "html", "list", "null", "number", "binary", "deep", "cut"],
    )
    def test_an_answer_that_is_none_is_an_error_of_the_service(self, body: bytes) -> None:
        conversation = authenticator(ALICE).converse(PULL)
        next(conversation)
        conversation.send(refused())
        with pytest.raises(OCIError, match=r"the token service https://auth\.example/token answered with no token"):
            conversation.send(Reply(200, body=body))

    @pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "a b", "a\x00", "tökén", "a\n"])
    def test_a_token_that_is_no_header_is_refused_and_not_shown(self, token: str) -> None:
        conversation = authenticator(ALICE).converse(PULL)
        next(conversation)
        conversation.send(refused())
        with pytest.raises(OCIError, match="cannot be sent") as caught:
            conversation.send(granted(token))
        assert token not in str(caught.value)

    def test_an_empty_token_is_a_denial(self) -> None:
        conversation = authenticator(ALICE).converse(PULL)
        next(conversation)
        conversation.send(refused())
        with pytest.raises(Denied, match="empty token"):
            conversation.send(Reply(200, body=b"{}"))

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_user_who_is_not_known_is_told_to_log_in_again(self, status: int) -> None:
        conversation = asked_by_get(authenticator(ALICE))
        with pytest.raises(Unauthorized, match="credentials of alice: log in again"):
            conversation.send(Reply(status))

    def test_who_has_no_credentials_is_told_to_log_in(self) -> None:
        conversation = authenticator().converse(PULL)
        next(conversation)
        conversation.send(refused())
        with pytest.raises(Unauthorized, match=r"layerkit login registry\.example"):
            conversation.send(Reply(401))

    @pytest.mark.parametrize("status", [400, 401])
    def test_an_identity_token_that_expired_is_told(self, status: int) -> None:
        """`invalid_grant` is a 400 (RFC 6749, section 5.2)."""
        conversation = authenticator(Credentials(identity_token="refresh me")).converse(PULL)
        next(conversation)
        conversation.send(refused())
        with pytest.raises(Unauthorized, match="the identity token: log in again"):
            conversation.send(Reply(status, body=b'{"error":"invalid_grant"}'))

    @pytest.mark.parametrize("status", [307, 400, 404, 500, 503])
    def test_a_service_that_fails_is_named_with_its_status(self, status: int) -> None:
        conversation = asked_by_get(authenticator(ALICE))
        with pytest.raises(
            OCIError, match=rf"https://auth\.example/token answered with HTTP status {status}"
        ) as caught:
            conversation.send(Reply(status))
        assert not isinstance(caught.value, Unauthorized)
        assert caught.value.status != 404, "or a missing token service would look like a missing blob"


class TestTokensAreRemembered:
    def test_a_token_is_sent_at_once_for_the_same_scope(self) -> None:
        who = authenticator()
        obtain(who, PULL, "t1")
        assert next(who.converse(PULL)) == bearer("t1")

    def test_a_token_that_covers_more_is_used_for_less(self) -> None:
        who = authenticator()
        obtain(who, PUSH, "t1")
        assert next(who.converse(PULL)) == bearer("t1")
        assert next(who.converse(frozenset())) == bearer("t1")

    def test_a_token_for_less_or_for_something_else_is_not_sent(self) -> None:
        """Another one is asked for at once: who wants a token for one thing wants one for all."""
        who = authenticator()
        obtain(who, PULL, "t1")
        for scopes in (PUSH, OTHER, PULL | OTHER):
            call = next(who.converse(scopes))
            assert parse_qs(urlsplit(call.url).query)["scope"] == sorted(map(str, scopes))
            assert call.headers == {}

    def test_of_what_the_registry_wanted_beside_nothing_is_remembered(self) -> None:
        who = authenticator()
        conversation = who.converse(PULL)
        next(conversation)
        conversation.send(refused('Bearer realm="https://auth.example/token",scope="registry:catalog:*"'))
        conversation.send(granted())
        assert parse_qs(urlsplit(next(who.converse(OTHER)).url).query) == {"scope": ["repository:acme/other:pull"]}

    def test_each_scope_has_its_own_token(self) -> None:
        who = authenticator()
        obtain(who, PULL, "t1")
        obtain(who, OTHER, "t2")
        assert next(who.converse(PULL)) == bearer("t1")
        assert next(who.converse(OTHER)) == bearer("t2")

    @pytest.mark.parametrize(
        ("lifetime", "good_for"), [("300", 269.9), ("60", 44.9), ("60.5", 45.2), ("1e9", 86_369.9), ("4", 2.9)]
    )
    def test_a_token_is_renewed_before_it_ends(self, lifetime: str, good_for: float) -> None:
        """It must last until the end of what is begun with it."""
        clock = Clock()
        who = authenticator(clock=clock)
        obtain_for(who, lifetime)
        clock.now = good_for
        assert next(who.converse(PULL)) == bearer("t1")
        clock.now = good_for + 0.2
        call = next(who.converse(PULL))
        assert call.url.startswith("https://auth.example/token?"), "without the registry's asking for it again"

    @pytest.mark.parametrize("lifetime", ["null", "0", "-5", '"300"', "true", "[]", "{}"])
    def test_a_token_lasts_a_minute_where_the_service_does_not_say(self, lifetime: str) -> None:
        """ "If omitted, this defaults to 60 seconds" (distribution, token.md, `expires_in`)."""
        clock = Clock()
        who = authenticator(clock=clock)
        obtain_for(who, lifetime)
        clock.now = 44
        assert next(who.converse(PULL)) == bearer("t1")
        clock.now = 60
        assert next(who.converse(PULL)).url

    def test_a_lifetime_begins_when_the_token_is_asked_for(self) -> None:
        clock = Clock()
        who = authenticator(clock=clock)
        conversation = who.converse(PULL)
        next(conversation)
        conversation.send(refused())
        clock.now = 100
        conversation.send(granted())
        clock.now = 269
        assert next(who.converse(PULL)) == bearer("t1")
        clock.now = 271
        assert next(who.converse(PULL)).url

    def test_an_expired_token_is_renewed_once(self) -> None:
        who = authenticator(ALICE)
        obtain(who, PULL, "old")
        conversation = who.converse(PULL)
        assert next(conversation) == bearer("old")
        assert conversation.send(refused()).url
        assert conversation.send(granted("new")) == bearer("new")
        assert end(conversation, OK) == OK
        assert next(who.converse(PULL)) == bearer("new")

    def test_a_second_401_is_the_last_word(self) -> None:
        who = authenticator(ALICE)
        conversation = who.converse(PULL)
        next(conversation)
        conversation.send(refused())
        conversation.send(granted("useless"))
        assert end(conversation, refused()).status == 401
        assert next(who.converse(PULL)).url == "https://auth.example/token", "the refused token is forgotten"

    def test_what_another_call_found_out_meanwhile_is_used(self) -> None:
        who = authenticator(ALICE)
        waiting = who.converse(PULL)
        next(waiting)
        obtain(who, PUSH, "t1")
        assert waiting.send(refused()) == bearer("t1")
        assert end(waiting, OK) == OK

    def test_a_token_that_another_call_renewed_is_not_forgotten(self) -> None:
        who = authenticator(ALICE)
        obtain(who, PULL, "old")
        waiting, renewing = who.converse(PULL), who.converse(PULL)
        assert next(waiting) == next(renewing) == bearer("old")
        renewing.send(refused())
        assert renewing.send(granted("new")) == bearer("new")
        assert waiting.send(refused()) == bearer("new")

    def test_what_another_call_found_out_may_be_refused_as_well(self) -> None:
        who = authenticator(ALICE)
        waiting = who.converse(PULL)
        next(waiting)
        obtain(who, PULL, "t1")
        assert waiting.send(refused()) == bearer("t1")
        assert waiting.send(refused()).url
        assert waiting.send(granted("t2")) == bearer("t2")

    def test_a_registry_token_is_sent_as_it_is_and_never_renewed(self) -> None:
        conversation = authenticator(Credentials(registry_token="fixed")).converse(PULL)
        assert next(conversation) == bearer("fixed")
        assert end(conversation, refused()).status == 401


def test_secrets_are_in_no_repr_and_in_no_message() -> None:
    credentials = Credentials("alice", "s3cret-1", "s3cret-2", "s3cret-3")
    assert "s3cret" not in repr(credentials)
    assert "s3cret" not in str(credentials)
    for identity in ("", "s3cret-2"):
        for reply in (Reply(401, body=b"s3cret"), Reply(500, body=b"s3cret"), Reply(200, body=b'{"token":1}')):
            conversation = asked_by_get(authenticator(Credentials("alice", "s3cret-1", identity)))
            with pytest.raises(OCIError) as caught:
                conversation.send(reply)
            assert "s3cret" not in f"{caught.value} {caught.value.details} {caught.value.__cause__}"


def test_what_is_sent_and_what_comes_back_is_in_no_repr() -> None:
    who = authenticator(ALICE)
    conversation = who.converse(PULL)
    next(conversation)
    post = conversation.send(refused())
    get = conversation.send(Reply(404))
    reply = granted("s3cret-token")
    call = conversation.send(reply)
    assert "s3cret" in f"{post.body!r}{call.headers}{reply.body!r}"
    assert basic("alice:s3cret") in get.headers.values()
    shown = f"{post} {get} {reply} {call} {who._tokens}"
    assert "s3cret" not in shown
    assert basic("alice:s3cret") not in shown
