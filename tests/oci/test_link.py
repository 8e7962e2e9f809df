"""Link headers: finding the next page."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.oci.digest import Digest
from layerkit.oci.link import format_next, parse_next
from layerkit.oci.reference import RepositoryName
from layerkit.oci.request import ListReferrers, build_url

NEXT = "/v2/app/tags/list?n=2&last=b"


def test_the_form_is_that_of_the_spec() -> None:
    """ "`Link: </v2/...?n=..&last=..>; rel="next"` relative"."""
    assert format_next(NEXT) == f'<{NEXT}>; rel="next"'


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"), min_size=1))
def test_the_next_page_of_any_list_is_found_again(last: str, artifact_type: str) -> None:
    call = ListReferrers(
        repository=RepositoryName("app"), digest=Digest.of(b""), last=last, artifact_types=(artifact_type,), limit=1
    )
    url = build_url(call)
    assert parse_next(format_next(url)) == url


@pytest.mark.parametrize(
    "header",
    [
        f'<{NEXT}>; rel="next"',
        f"<{NEXT}>; rel=next",
        f'<{NEXT}>;rel="next"',
        f'<{NEXT}> ; REL = "Next"',
        f'<{NEXT}>; rel="prefetch next"',
        f'<{NEXT}>; title="page 2, of 3"; rel="next"',
        f'<{NEXT}>; title="a \\" > quote"; rel="next"; type=json',
        f'<{NEXT}>; crossorigin; rel="next"',
        f'</first>; rel="first", <{NEXT}>; rel="next"',
        f"</p>; rel=prev,<{NEXT}>;rel=next,</l>;rel=last",
        f'</t>; title="<x>; rel=next", <{NEXT}>; rel="next"',
    ],
)
def test_the_relation_next_is_found(header: str) -> None:
    assert parse_next(header) == NEXT


@pytest.mark.parametrize(
    "header",
    [
        "",
        NEXT,
        f"<{NEXT}>",
        f'<{NEXT}>; rel="prev"',
        f'<{NEXT}>; rel="nextish"',
        f'<{NEXT}>; rel=""',
        f"<{NEXT}>; rel",
        f'<{NEXT}>; title="rel=next"',
        f'<{NEXT}>; xrel="next"',
        f'<{NEXT}>; rel="prev"; rel="next"',
        f'<{NEXT}, rel="next"',
    ],
)
def test_where_there_is_no_next_page_there_is_none(header: str) -> None:
    """ "occurrences after the first MUST be ignored by parsers" (RFC 8288, section 3.3)."""
    assert parse_next(header) is None


@given(st.text() | st.text(alphabet='<>;, "\\=relnxt'))
def test_any_header_has_a_next_page_or_none(header: str) -> None:
    found = parse_next(header)
    assert found is None or found in header
