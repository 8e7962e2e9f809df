"""References: the grammar and the normalisation that docker, containerd and podman share.

The tables hold the facts that distribution/reference is tested for (`reference_test.go`, `normalize_test.go`).
"""

from contextlib import suppress

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from layerkit.oci.digest import Digest
from layerkit.oci.errors import DigestInvalid, NameInvalid, OCIError, TagInvalid
from layerkit.oci.reference import (
    DEFAULT_TAG,
    MAX_NAME,
    Reference,
    has_explicit_domain,
    parse_reference,
    parse_repository_name,
    parse_tag,
    parse_tag_or_digest,
)

HEX = "f" * 64
SHA256 = f"sha256:{HEX}"
SHA512 = f"sha512:{HEX}{HEX}"
BARE = "1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a"

components = st.from_regex(r"[a-z0-9]+(?:(?:[._]|__|-{1,3})[a-z0-9]+){0,2}", fullmatch=True)
domains = st.sampled_from(
    ["docker.io", "localhost", "localhost:5000", "Host", "example.com", "a.b:80", "[::1]", "[2001:db8::1]:5000", "x:1"]
) | st.from_regex(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)?\.[A-Za-z0-9]+(:[0-9]{1,5})?", fullmatch=True).filter(
    lambda domain: domain != "index.docker.io"
)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True)
digests = st.binary().flatmap(lambda raw: st.sampled_from(["sha256", "sha512"]).map(lambda name: Digest.of(raw, name)))


@st.composite
def references(draw: st.DrawFn) -> Reference:
    """Any reference in its full form: on docker.io a path has at least two components."""
    domain = draw(domains)
    path = "/".join(draw(st.lists(components, min_size=1 + (domain == "docker.io"), max_size=4)))
    assume(len(f"{domain}/{path}") <= MAX_NAME)
    tag, digest = draw(st.none() | tags), draw(st.none() | digests)
    return Reference(
        domain=domain, path=parse_repository_name(path), tag=None if tag is None else parse_tag(tag), digest=digest
    )


@given(references())
def test_a_reference_is_read_back_as_it_was_written(reference: Reference) -> None:
    assert parse_reference(str(reference)) == reference


@given(references())
@example(parse_reference("docker.io/localhost/web"))
@example(parse_reference("docker.io/example.com/web"))
@example(parse_reference(f"docker.io/library/{BARE}"))
@example(parse_reference(f"docker.io/library/sha256:{BARE}"))
def test_the_familiar_form_means_the_same(reference: Reference) -> None:
    familiar = reference.familiar()
    assert parse_reference(familiar) == reference
    assert str(reference).endswith(familiar)


@given(
    st.text()
    | st.lists(st.sampled_from(["a", "A", ".", ":", "/", "@", "-", "_", "[", "]", "1", SHA256, " "])).map("".join)
)
def test_any_text_is_a_reference_or_an_error_with_advice(text: str) -> None:
    try:
        reference = parse_reference(text)
    except (NameInvalid, TagInvalid, DigestInvalid):
        return
    assert parse_reference(str(reference)) == reference
    assert len(reference.name) <= MAX_NAME


@pytest.mark.parametrize(
    ("text", "domain", "path", "tag", "digest"),
    [
        ("test_com", "docker.io", "library/test_com", None, None),
        ("test.com:tag", "docker.io", "library/test.com", "tag", None),
        ("test.com:5000", "docker.io", "library/test.com", "5000", None),
        ("test.com/repo:tag", "test.com", "repo", "tag", None),
        ("test_com/foo", "docker.io", "test_com/foo", None, None),
        ("test-com:8080/foo", "test-com:8080", "foo", None, None),
        ("test:5000/repo", "test:5000", "repo", None, None),
        ("test:5000/repo:tag", "test:5000", "repo", "tag", None),
        (f"test:5000/repo@{SHA256}", "test:5000", "repo", None, SHA256),
        (f"test:5000/repo:tag@{SHA256}", "test:5000", "repo", "tag", SHA256),
        ("lowercase:Uppercase", "docker.io", "library/lowercase", "Uppercase", None),
        ("sub-dom1.foo.com/bar/baz/quux:some-long-tag", "sub-dom1.foo.com", "bar/baz/quux", "some-long-tag", None),
        (
            "b.gcr.io/test.example.com/my-app:test.example.com",
            "b.gcr.io",
            "test.example.com/my-app",
            "test.example.com",
            None,
        ),
        ("xn--n3h.com/myimage:xn--n3h.com", "xn--n3h.com", "myimage", "xn--n3h.com", None),
        (f"xn--7o8h.com/myimage:xn--7o8h.com@{SHA512}", "xn--7o8h.com", "myimage", "xn--7o8h.com", SHA512),
        ("foo_bar.com:8080", "docker.io", "library/foo_bar.com", "8080", None),
        ("foo/foo_bar.com:8080", "docker.io", "foo/foo_bar.com", "8080", None),
        ("192.168.1.1", "docker.io", "library/192.168.1.1", None, None),
        ("192.168.1.1:5000", "docker.io", "library/192.168.1.1", "5000", None),
        ("192.168.1.1/repo", "192.168.1.1", "repo", None, None),
        ("192.168.1.1:5000/repo:5050", "192.168.1.1:5000", "repo", "5050", None),
        ("[2001:db8::1]/repo", "[2001:db8::1]", "repo", None, None),
        ("[2001:db8:1:2:3:4:5:6]/repo:tag", "[2001:db8:1:2:3:4:5:6]", "repo", "tag", None),
        (f"[2001:db8::1]:5000/repo:tag@{SHA256}", "[2001:db8::1]:5000", "repo", "tag", SHA256),
        ("[::1]:5000/repo", "[::1]:5000", "repo", None, None),
        ("localhost/foo", "localhost", "foo", None, None),
        ("localhost:5000/foo:1", "localhost:5000", "foo", "1", None),
        ("localhost", "docker.io", "library/localhost", None, None),
        ("Docker/docker", "Docker", "docker", None, None),
        ("FOO/bar", "FOO", "bar", None, None),
        ("Uppercase/lowercase:tag", "Uppercase", "lowercase", "tag", None),
        ("redis", "docker.io", "library/redis", None, None),
        ("redis:latest", "docker.io", "library/redis", "latest", None),
        ("docker.io/redis", "docker.io", "library/redis", None, None),
        ("docker.io/library/redis", "docker.io", "library/redis", None, None),
        ("docker.io/library/foo/bar", "docker.io", "library/foo/bar", None, None),
        ("index.docker.io/redis", "docker.io", "library/redis", None, None),
        ("index.docker.io/library/redis", "docker.io", "library/redis", None, None),
        ("index.docker.io/docker/docker", "docker.io", "docker/docker", None, None),
        ("docker/migrator", "docker.io", "docker/migrator", None, None),
        ("docker---rules/docker", "docker.io", "docker---rules/docker", None, None),
        ("dock__er/docker", "docker.io", "dock__er/docker", None, None),
        ("d/docker", "docker.io", "d/docker", None, None),
        (f"docker.io/{BARE}", "docker.io", f"library/{BARE}", None, None),
        (BARE[:-1], "docker.io", f"library/{BARE[:-1]}", None, None),
        (f"busybox:latest@{SHA256}", "docker.io", "library/busybox", "latest", SHA256),
    ],
)
def test_a_reference_has_these_parts(text: str, domain: str, path: str, tag: str | None, digest: str | None) -> None:
    reference = parse_reference(text)
    assert (reference.domain, reference.path, reference.tag, reference.digest) == (domain, path, tag, digest)


@pytest.mark.parametrize(
    ("text", "kind", "advice"),
    [
        ("", NameInvalid, "empty"),
        ("  ", NameInvalid, "empty"),
        (" redis", NameInvalid, "spaces around"),
        ("redis\n", NameInvalid, "spaces around"),
        ("red is", NameInvalid, "components of a-z"),
        (":justtag", NameInvalid, "components of a-z"),
        (f"@{SHA256}", NameInvalid, "components of a-z"),
        ("repo@sha256:ffff", DigestInvalid, "64 lower-case hex digits"),
        (f"repo@sha256:{HEX.upper()}", DigestInvalid, "64 lower-case hex digits"),
        (f"repo@invaliddigest:{HEX}", DigestInvalid, "use sha256 or sha512"),
        (f"repo@{SHA256}@{SHA256}", DigestInvalid, "hex digits"),
        ("repo@", DigestInvalid, "expected algorithm:hex"),
        ("repo:", TagInvalid, "up to 128"),
        ("repo:-foo", TagInvalid, "no . or - at its beginning"),
        ("repo:.foo", TagInvalid, "no . or - at its beginning"),
        (f"repo:{'x' * 129}", TagInvalid, "up to 128"),
        ("repo:a:b", TagInvalid, "up to 128"),
        ("Uppercase:tag", NameInvalid, "did you mean library/uppercase?"),
        ("docker/Docker", NameInvalid, "did you mean docker/docker?"),
        ("test:5000/Uppercase/lowercase:tag", NameInvalid, "did you mean uppercase/lowercase?"),
        ("docker.io/docker/Docker", NameInvalid, "did you mean docker/docker?"),
        ("a/" * 128 + "a:tag", NameInvalid, "longer than 255"),
        ("aa/asdf$$^/aa", NameInvalid, "components of a-z"),
        ("https://github.com/docker/docker", NameInvalid, "did you mean 'github.com/docker/docker'?"),
        ("docker://redis", NameInvalid, "no scheme, please"),
        ("-docker", NameInvalid, "components of a-z"),
        ("-docker/docker", NameInvalid, "components of a-z"),
        ("docker-/docker", NameInvalid, "components of a-z"),
        ("-docker.io/docker/docker", NameInvalid, "expected HOST or HOST:PORT"),
        ("docker///docker", NameInvalid, "components of a-z"),
        ("docker.io/docker///docker", NameInvalid, "components of a-z"),
        ("docker/", NameInvalid, "components of a-z"),
        ("docker.io/", NameInvalid, "components of a-z"),
        ("/docker", NameInvalid, "components of a-z"),
        ("____/____", NameInvalid, "components of a-z"),
        ("_docker/_docker", NameInvalid, "components of a-z"),
        ("dock..er/docker", NameInvalid, "expected HOST"),
        ("a/dock..er", NameInvalid, "components of a-z"),
        ("a/dock_.er", NameInvalid, "components of a-z"),
        ("a/dock-.er", NameInvalid, "components of a-z"),
        ("a/dock___er", NameInvalid, "components of a-z"),
        ("[fc00::1]", NameInvalid, "components of a-z"),
        ("[fc00::1]:5000", NameInvalid, "components of a-z"),
        ("fc00::1:5000/debian", NameInvalid, "expected HOST"),
        ("[fe80::1%eth0]:5000/debian", NameInvalid, "expected HOST"),
        ("[2001:db8:3:4::192.0.2.33]:5000/debian", NameInvalid, "expected HOST"),
        ("host:port/debian", NameInvalid, "expected HOST:PORT|expected HOST or HOST:PORT"),
        ("ex\u00e4mple.com/debian", NameInvalid, "expected HOST"),
        (BARE, NameInvalid, "did you mean NAME@sha256:1a3f5e7d...?"),
        (f"sha256:{BARE}", NameInvalid, "did you mean NAME@sha256:1a3f5e7d...?"),
    ],
)
def test_what_is_no_reference_is_refused_with_advice(text: str, kind: type[OCIError], advice: str) -> None:
    with pytest.raises(kind) as caught:
        parse_reference(text)
    assert any(each in caught.value.message for each in advice.split("|"))


def test_the_name_has_at_most_255_characters_with_its_registry() -> None:
    """ "Many clients impose a limit of 255 characters on the length of the concatenation of the registry hostname
    (and optional port), `/`, and `<name>` value" (distribution-spec, "Pulling manifests")."""
    longest = f"example.com/{'a' * (MAX_NAME - len('example.com/'))}"
    assert parse_reference(f"{longest}:tag@{SHA256}").name == longest
    with pytest.raises(NameInvalid, match="longer than 255"):
        parse_reference(f"{longest}a")


@pytest.mark.parametrize(
    ("text", "familiar"),
    [
        ("fooo/bar", "fooo/bar"),
        ("library/ubuntu", "ubuntu"),
        ("nonlibrary/ubuntu", "nonlibrary/ubuntu"),
        ("other/library", "other/library"),
        ("127.0.0.1:8000/private/moonbase", "127.0.0.1:8000/private/moonbase"),
        ("example.com/library/web", "example.com/library/web"),
        ("index.docker.io/library/ubuntu-12.04-base", "ubuntu-12.04-base"),
        ("docker.io/foo", "foo"),
        ("library/foo/bar", "library/foo/bar"),
        ("store/foo/bar", "store/foo/bar"),
        ("Foo/bar", "Foo/bar"),
        (f"docker.io/library/busybox:latest@{SHA256}", f"busybox:latest@{SHA256}"),
        # Shorter, these would name something else, or nothing.
        ("docker.io/localhost/web", "docker.io/localhost/web"),
        ("docker.io/example.com/web", "docker.io/example.com/web"),
        (f"docker.io/{BARE}", f"docker.io/library/{BARE}"),
    ],
)
def test_people_see_the_familiar_form(text: str, familiar: str) -> None:
    assert parse_reference(text).familiar() == familiar


@given(references(), digests)
def test_the_digest_decides_then_the_tag_then_latest(reference: Reference, digest: Digest) -> None:
    """ "tag+digest -> digest wins"."""
    assert reference.target == (reference.digest or reference.tag or DEFAULT_TAG)
    assert reference.with_default_tag().target == reference.target
    assert (reference.with_default_tag() == reference) is bool(reference.tag or reference.digest)
    pinned = reference.at(digest)
    assert (pinned.name, pinned.tag, pinned.digest, pinned.target) == (reference.name, None, digest, digest)


@pytest.mark.parametrize(
    ("text", "host"),
    [("redis", "registry-1.docker.io"), ("index.docker.io/a/b", "registry-1.docker.io"), ("a.b:80/c", "a.b:80")],
)
def test_docker_io_is_answered_by_another_host(text: str, host: str) -> None:
    assert parse_reference(text).host == host


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis", False),
        ("redis:5000", False),
        ("library/redis", False),
        ("example.com", False),
        (f"redis@{SHA256}", False),
        ("docker.io/redis", True),
        ("index.docker.io/redis", True),
        ("localhost/redis", True),
        ("redis:5000/web", True),
        ("[::1]/web", True),
        ("Web/app", True),
        (f"example.com/web:1@{SHA256}", True),
    ],
)
def test_a_domain_is_explicit_or_left_to_docker_io(text: str, expected: bool) -> None:
    """A domain if the first part has `.` or `:`, is `localhost`, or has an upper-case letter."""
    assert has_explicit_domain(text) is expected


@given(references())
def test_the_full_form_always_has_an_explicit_domain(reference: Reference) -> None:
    assert has_explicit_domain(str(reference))


# Names and tags by themselves


@given(st.lists(components, min_size=1, max_size=4).map("/".join))
def test_components_joined_by_slashes_are_a_repository_name(text: str) -> None:
    assume(len(text) <= MAX_NAME)
    assert parse_repository_name(text) == text


@given(tags)
def test_a_tag_is_taken_as_it_is(text: str) -> None:
    """`[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}` (distribution-spec, "Pulling manifests")."""
    assert parse_tag(text) == parse_tag_or_digest(text) == text
    assert not isinstance(parse_tag_or_digest(text), Digest)


@given(digests)
def test_a_colon_makes_it_a_digest(digest: Digest) -> None:
    assert isinstance(parse_tag_or_digest(str(digest)), Digest)


@given(st.text())
def test_any_text_is_a_name_a_tag_or_an_error_of_its_own(text: str) -> None:
    for parse, kind in ((parse_repository_name, NameInvalid), (parse_tag, TagInvalid)):
        with suppress(kind):
            assert parse(text) == text
    with suppress(TagInvalid, DigestInvalid):
        assert parse_tag_or_digest(text) == text


@pytest.mark.parametrize(
    "text", ["x" * 100_000, "\x00" * 100_000, "a" * 100_000 + "://b", f"host:1/{'A' * 100_000}", "://" * 50_000]
)
def test_an_error_repeats_only_the_beginning_of_a_long_input(text: str) -> None:
    with pytest.raises(NameInvalid) as caught:
        parse_reference(text)
    assert len(caught.value.message) < 2000
