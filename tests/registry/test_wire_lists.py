"""Lists and referrers, by the numbers of the design's list of what real clients depend upon."""

from typing import Any

import pytest

from layerkit.oci.digest import Digest
from layerkit.oci.manifest import MAX_SIZE
from layerkit.oci.mediatype import OCI_CONFIG, OCI_EMPTY, OCI_INDEX, OCI_MANIFEST
from tests.wire import Answer, Wire, blob, image, index

ZERO = "sha256:" + "0" * 64
TAGS = ["A", "Z", "_", "a", "a-b", "a.b", "b", "z"]


async def follow(wire: Wire, path: str, key: str) -> tuple[list[Any], list[Answer]]:
    """All items of a list, and its pages."""
    items: list[Any] = []
    pages: list[Answer] = []
    while True:
        pages.append(await wire("GET", path))
        items += pages[-1].json[key]
        link = pages[-1].headers.get("Link")
        if link is None:
            return items, pages
        target, _, relation = link.partition("; ")
        assert relation == 'rel="next"'
        path = target.strip("<>")
        assert path.startswith("/v2/")


class TestReferrers:
    @pytest.mark.parametrize("name", ["nobody/knows", "a/b"])
    @pytest.mark.parametrize("digest", [ZERO, Digest.of(b"x", "sha512")])
    async def test_there_is_always_a_list(self, wire: Wire, name: str, digest: str) -> None:
        """24: "always 200 for any valid digest, also repo unknown (OR pings with the zero digest)". "Content-Type
        exactly `application/vnd.oci.image.index.v1+json`"."""
        await wire.push_image("a/b")
        answer = await wire("GET", f"/v2/{name}/referrers/{digest}")
        assert (answer.status, answer.headers["Content-Type"]) == (200, OCI_INDEX)
        assert answer.json == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        assert "OCI-Filters-Applied" not in answer.headers

    @pytest.mark.parametrize("text", ["latest", "sha256:baddigest", "md5:d41d8cd98f00b204e9800998ecf8427e"])
    async def test_a_bad_digest_is_400(self, wire: Wire, text: str) -> None:
        """24: "400 for a bad digest"."""
        answer = await wire("GET", f"/v2/a/b/referrers/{text}")
        assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])

    async def test_each_has_its_type_and_annotations(self, wire: Wire) -> None:
        """25: "artifactType falls back to config.mediaType for image manifests only (an index without artifactType
        omits it: MUST)"; "when filtered `OCI-Filters-Applied: artifactType`", and the filter may be repeated."""
        subject = blob(await wire.push_image("a/b"), OCI_MANIFEST)
        by_config = image(subject=subject, annotations={"n": "1"})
        by_type = image(config=blob(b"{}", OCI_EMPTY), subject=subject, artifactType="a/b")
        bare = index(subject=subject)
        typed = index(subject=subject, artifactType="a/c")
        for raw in (by_config, by_type):
            assert (await wire.put_manifest("a/b", Digest.of(raw), raw)).headers["OCI-Subject"] == subject.digest
        for raw in (bare, typed):
            await wire.put_manifest("a/b", Digest.of(raw), raw, OCI_INDEX)
        expected: dict[bytes, dict[str, object]] = {
            by_config: {"mediaType": OCI_MANIFEST, "artifactType": OCI_CONFIG, "annotations": {"n": "1"}},
            by_type: {"mediaType": OCI_MANIFEST, "artifactType": "a/b"},
            bare: {"mediaType": OCI_INDEX},
            typed: {"mediaType": OCI_INDEX, "artifactType": "a/c"},
        }
        listed = [{**rest, "digest": Digest.of(raw), "size": len(raw)} for raw, rest in expected.items()]
        listed.sort(key=lambda entry: str(entry["digest"]))
        path = f"/v2/a/b/referrers/{subject.digest}"
        assert (await wire("GET", path)).json["manifests"] == listed
        for query, kinds in (
            ("artifactType=a/b", {"a/b"}),
            ("artifactType=a%2Fb&artifactType=a%2Fc", {"a/b", "a/c"}),
            (f"artifactType={OCI_CONFIG.replace('+', '%2B')}", {OCI_CONFIG}),
            ("artifactType=none", set()),
        ):
            answer = await wire("GET", f"{path}?{query}")
            assert answer.headers["OCI-Filters-Applied"] == "artifactType"
            assert answer.json["manifests"] == [entry for entry in listed if entry.get("artifactType") in kinds]

    async def test_a_deleted_referrer_is_listed_no_more(self, wire: Wire) -> None:
        """24, 23: deleting is seen at once; the subject need not exist."""
        await wire.push_blob("a/b", b"{}")
        raw = image(subject=blob(b"absent", OCI_MANIFEST))
        await wire.put_manifest("a/b", Digest.of(raw), raw)
        path = f"/v2/a/b/referrers/{Digest.of(b'absent')}"
        assert len((await wire("GET", path)).json["manifests"]) == 1
        await wire("DELETE", f"/v2/a/b/manifests/{Digest.of(raw)}")
        assert (await wire("GET", path)).json["manifests"] == []

    async def test_a_page_stays_below_4_mib(self, wire: Wire) -> None:
        """24: "Keep total <=4 MiB per page (CD cap), page by Link"."""
        await wire.push_blob("a/b", b"{}")
        subject = blob(b"absent", OCI_MANIFEST)
        pushed: list[Digest] = []
        for size in [3_900_000, 3_900_000, 1_500_000, 1_500_000, 1_500_000, *[10] * 40]:
            raw = image(subject=subject, artifactType="a/b", annotations={str(len(pushed)): "A" * size})
            assert (await wire.put_manifest("a/b", Digest.of(raw), raw)).status == 201
            pushed.append(Digest.of(raw))
        path = f"/v2/a/b/referrers/{subject.digest}"
        for query in ("", "?n=30", "?artifactType=a/b"):
            items, pages = await follow(wire, path + query, "manifests")
            assert [item["digest"] for item in items] == sorted(pushed)
            assert all(len(page.body) <= MAX_SIZE for page in pages)
            assert 3 < len(pages) < 8

    @pytest.mark.parametrize(("count", "pages"), [(1, 40), (7, 6), (16, 3), (40, 1), (41, 1), (10**30, 1)])
    async def test_pages_have_as_many_as_were_asked_for(self, wire: Wire, count: int, pages: int) -> None:
        """24: "page by Link"."""
        await wire.push_blob("a/b", b"{}")
        subject = blob(b"absent", OCI_MANIFEST)
        for number in range(40):
            raw = image(subject=subject, annotations={"n": str(number)})
            await wire.put_manifest("a/b", Digest.of(raw), raw)
        items, found = await follow(wire, f"/v2/a/b/referrers/{subject.digest}?n={count}", "manifests")
        assert (len({item["digest"] for item in items}), len(found)) == (40, pages)


class TestTags:
    @pytest.fixture(autouse=True)
    async def tags(self, wire: Wire) -> None:
        raw = await wire.push_image("a/b")
        query = "&".join(f"tag={tag}" for tag in reversed(TAGS))
        await wire.put_manifest("a/b", f"{Digest.of(raw)}?{query}", raw)

    async def test_tags_come_in_byte_order(self, wire: Wire) -> None:
        """44: "lexical (byte) order"."""
        answer = await wire("GET", "/v2/a/b/tags/list")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.json == {"name": "a/b", "tags": TAGS}
        assert "Link" not in answer.headers

    @pytest.mark.parametrize("count", [1, 3, 7, 8, 9, 10**9, 10**25])
    async def test_pages_follow_each_other(self, wire: Wire, count: int) -> None:
        """44: "`Link: </v2/...?n=..&last=..>; rel="next"` relative"; "n over max -> clamp"."""
        items, pages = await follow(wire, f"/v2/a/b/tags/list?n={count}", "tags")
        assert items == TAGS
        assert len(pages) == -(-len(TAGS) // min(count, 8))

    async def test_last_is_where_a_page_begins_after(self, wire: Wire) -> None:
        """44: `last` need not be a tag that exists, and `n` need not be there."""
        assert (await wire("GET", "/v2/a/b/tags/list?last=a-")).json["tags"] == TAGS[4:]
        assert (await wire("GET", "/v2/a/b/tags/list?last=a&n=2")).json["tags"] == TAGS[4:6]
        assert (await wire("GET", "/v2/a/b/tags/list?last=z")).json["tags"] == []

    async def test_none_are_asked_for(self, wire: Wire) -> None:
        """44: "n=0 -> empty & no Link", for every list."""
        for path, key in (
            ("a/b/tags/list", "tags"),
            ("_catalog", "repositories"),
            (f"a/b/referrers/{ZERO}", "manifests"),
        ):
            answer = await wire("GET", f"/v2/{path}?n=0")
            assert (answer.status, answer.json[key]) == (200, [])
            assert "Link" not in answer.headers

    @pytest.mark.parametrize("number", ["-1", "x", "1.5", "0x10", "%D9%A3"])
    async def test_a_bad_number_is_400(self, wire: Wire, number: str) -> None:
        """44: "Bad n -> 400 PAGINATION_NUMBER_INVALID"."""
        for path in ("a/b/tags/list", "_catalog", f"a/b/referrers/{ZERO}"):
            answer = await wire("GET", f"/v2/{path}?n={number}")
            assert (answer.status, answer.codes) == (400, ["PAGINATION_NUMBER_INVALID"])

    async def test_no_tags_are_a_list_and_no_repository_is_404(self, wire: Wire) -> None:
        """44: "`"tags": []` not null"; 22: "unknown repo: 404 `NAME_UNKNOWN` on tags/list"."""
        await wire.push_image("a/untagged")
        assert (await wire("GET", "/v2/a/untagged/tags/list")).json == {"name": "a/untagged", "tags": []}
        answer = await wire("GET", "/v2/nobody/knows/tags/list")
        assert (answer.status, answer.codes) == (404, ["NAME_UNKNOWN"])


async def test_the_catalog_comes_in_pages(wire: Wire) -> None:
    """44: "tags/list & _catalog", of those that have a manifest."""
    assert (await wire("GET", "/v2/_catalog")).json == {"repositories": []}
    names = ["a-b", "a.b", "a/b", "b", "b/manifests/c"]
    for name in names:
        await wire.push_image(name)
    await wire.push_blob("only/blobs", b"x")
    for count in (1, 2, 5, 10**9):
        assert (await follow(wire, f"/v2/_catalog?n={count}", "repositories"))[0] == names
    assert (await wire("GET", "/v2/_catalog?last=a/b")).json == {"repositories": names[3:]}
