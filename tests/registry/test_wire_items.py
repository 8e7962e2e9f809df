"""What real clients depend upon, by the 48 items of the project's list of it, and the tests that show each.

The table is checked: a test that is renamed or removed is missed here.
"""

import ast
from functools import cache
from pathlib import Path
from typing import Final

import pytest

_HERE: Final = Path(__file__).parent

ITEMS: Final[dict[int, tuple[str, ...]]] = {
    1: (
        "test_wire_base.py::test_the_registry_says_what_it_is",
        "test_wire_base.py::test_every_response_has_the_version",
    ),
    2: (
        "test_wire_auth.py::test_the_ping_is_401_for_who_has_not_come_in",
        "test_wire_auth.py::test_every_later_401_says_what_it_takes",
    ),
    3: ("test_wire_auth.py::test_the_challenge_has_exactly_the_form_that_clients_read",),
    4: (
        "test_wire_auth.py::test_a_token_that_is_not_enough_is_401_and_a_password_that_is_not_enough_403",
        "test_wire_auth.py::test_permission_is_checked_when_an_upload_begins",
    ),
    5: (
        "test_wire_auth.py::TestAnonymousPull::test_the_ping_is_401_all_the_same",
        "test_wire_auth.py::TestAnonymousPull::test_an_anonymous_token_comes_in_and_pulls",
        "test_wire_auth.py::TestAnonymousPull::test_empty_basic_credentials_are_none",
        "../clients/test_login.py::TestDocker::test_whoever_is_not_logged_in_pulls_what_is_public_and_nothing_else",
        "../clients/test_login.py::TestDocker::test_whoever_is_logged_in_pushes_and_pulls",
    ),
    6: (
        "test_wire_auth.py::TestTokenByGet::test_it_has_all_that_clients_read",
        "test_wire_auth.py::TestTokenByGet::test_scopes_are_repeated_or_joined",
        "test_wire_auth.py::TestTokenByGet::test_a_refresh_token_is_given_to_who_asks_for_one",
    ),
    7: (
        "test_wire_auth.py::TestTokenByPost::test_a_password_is_exchanged",
        "test_wire_auth.py::TestTokenByPost::test_a_refresh_token_is_exchanged",
        "test_wire_auth.py::TestTokenByPost::test_other_forms_and_methods_are_refused",
    ),
    8: (
        "test_wire_auth.py::TestTokenByGet::test_what_is_not_permitted_is_left_out",
        "test_wire_auth.py::TestTokenByGet::test_wrong_credentials_are_401_even_where_all_is_public",
    ),
    9: ("test_wire_auth.py::test_docker_login_is_a_token_without_a_scope",),
    10: (
        "test_wire_auth.py::test_basic_is_taken_directly",
        "test_wire_auth.py::test_one_token_lasts_for_the_requests_of_an_upload",
    ),
    11: (
        "test_wire_auth.py::TestRealm::test_it_is_on_the_host_that_the_client_asked",
        "test_wire_auth.py::TestRealm::test_the_public_url_is_above_all",
    ),
    12: ("test_wire_manifests.py::test_head_has_type_length_and_digest",),
    13: (
        "test_wire_manifests.py::test_get_has_the_very_bytes",
        "test_wire_blobs.py::test_no_encoding_is_applied_to_what_is_a_digest_s",
    ),
    14: (
        "test_wire_manifests.py::test_the_stored_type_is_the_answer_to_any_accept",
        "test_wire_manifests.py::test_a_manifest_of_any_type_is_taken",
    ),
    15: ("test_wire_manifests.py::test_whoever_has_a_manifest_is_told_so",),
    16: (
        "test_wire_manifests.py::test_put_is_201_with_location_and_digest",
        "test_wire_manifests.py::test_a_manifest_is_put_with_its_tags",
        "test_wire_manifests.py::test_a_missing_subject_is_accepted",
    ),
    17: (
        "test_wire_manifests.py::test_the_type_is_what_header_or_document_say",
        "test_wire_manifests.py::test_a_type_that_nobody_states_is_guessed",
        "test_wire_manifests.py::test_types_that_disagree_are_refused",
    ),
    18: (
        "test_wire_manifests.py::test_what_is_no_manifest_is_400",
        "test_wire_manifests.py::test_a_bad_tag_is_400_where_it_is_written",
        "test_wire_manifests.py::test_every_missing_digest_has_an_entry",
        "test_wire_manifests.py::test_a_missing_subject_is_accepted",
    ),
    19: (
        "test_wire_manifests.py::test_children_may_be_blobs",
        "test_wire_manifests.py::test_layers_of_others_and_no_layers_are_fine",
    ),
    20: (
        "test_wire_manifests.py::test_a_manifest_of_4_mib_is_taken_and_a_larger_one_413",
        "test_wire_manifests.py::test_what_is_no_manifest_is_400",
    ),
    21: (
        "test_wire_manifests.py::test_a_manifest_s_digest_is_verified",
        "test_wire_manifests.py::test_a_digest_that_is_none_is_400",
    ),
    22: (
        "test_wire_manifests.py::test_an_unknown_manifest_is_404",
        "test_wire_lists.py::TestTags::test_no_tags_are_a_list_and_no_repository_is_404",
    ),
    23: (
        "test_wire_manifests.py::test_deleting_a_tag_leaves_the_manifest",
        "test_wire_manifests.py::test_deleting_a_manifest_takes_its_tags_along",
    ),
    24: (
        "test_wire_lists.py::TestReferrers::test_there_is_always_a_list",
        "test_wire_lists.py::TestReferrers::test_a_page_stays_below_4_mib",
    ),
    25: ("test_wire_lists.py::TestReferrers::test_each_has_its_type_and_annotations",),
    26: (
        "test_wire_blobs.py::test_a_blob_comes_with_its_length_digest_and_etag",
        "test_wire_blobs.py::test_an_unknown_blob_is_404",
    ),
    27: (
        "test_wire_blobs.py::test_a_part_is_206_and_says_which",
        "test_wire_blobs.py::test_a_part_that_is_not_there_is_416",
        "test_wire_blobs.py::test_a_range_that_is_none_is_passed_over",
    ),
    28: (
        "test_wire_blobs.py::test_several_ranges_are_as_many_parts_in_the_order_asked",
        "test_wire_blobs.py::test_ranges_that_overlap_are_answered_with_the_whole",
    ),
    29: (
        "../clients/test_redirect.py::test_a_get_is_sent_there_and_a_head_is_not",
        "../clients/test_redirect.py::test_ranges_work_there",
        "../clients/test_redirect.py::test_a_link_ends",
        "../clients/test_redirect.py::test_only_those_in_the_networks_are_sent",
    ),
    30: ("test_wire_blobs.py::test_an_interrupted_pull_is_resumed",),
    31: ("test_wire_uploads.py::TestStarting::test_post_is_202",),
    32: (
        "test_wire_uploads.py::TestMounting::test_a_blob_that_is_there_is_mounted",
        "test_wire_uploads.py::TestMounting::test_what_cannot_be_mounted_is_an_upload",
        "test_wire_auth.py::TestMount::test_without_the_right_to_read_there_it_is_an_upload",
    ),
    33: (
        "test_wire_uploads.py::TestInOneRequest::test_post_with_digest_and_body_is_201",
        "test_wire_uploads.py::TestInOneRequest::test_post_without_the_body_is_the_beginning_of_an_upload",
    ),
    34: (
        "test_wire_uploads.py::TestStarting::test_a_location_is_relative_and_keeps_its_state_in_the_path",
        "test_wire_uploads.py::TestCommitting::test_the_query_is_read_as_clients_write_it",
    ),
    35: ("test_wire_uploads.py::TestAppending::test_patch_without_content_range_appends",),
    36: (
        "test_wire_uploads.py::TestAppending::test_a_chunk_says_where_it_belongs",
        "test_wire_uploads.py::TestAppending::test_a_chunk_out_of_order_is_416",
        "test_wire_uploads.py::TestAppending::test_a_chunk_of_another_length_is_400",
        "test_wire_uploads.py::TestAppending::test_what_came_before_the_connection_broke_is_kept",
    ),
    37: ("test_wire_uploads.py::TestAppending::test_the_range_is_inclusive_and_without_a_unit",),
    38: (
        "test_wire_uploads.py::TestLookingAndCancelling::test_get_tells_where_it_stands",
        "test_wire_uploads.py::TestLookingAndCancelling::test_delete_ends_it",
        "test_wire_uploads.py::TestLookingAndCancelling::test_an_unknown_upload_is_404",
    ),
    39: (
        "test_wire_uploads.py::TestCommitting::test_put_is_201",
        "test_wire_uploads.py::TestCommitting::test_a_digest_that_is_not_the_content_s_is_400",
        "test_wire_uploads.py::TestCommitting::test_a_put_whose_reply_was_lost_may_be_repeated",
    ),
    40: ("test_wire_uploads.py::TestCommitting::test_it_is_there_at_once",),
    41: (
        "test_wire_base.py::test_whoever_waits_is_told_to_go_on_once_the_request_is_welcome",
        "test_wire_base.py::test_a_refusal_reaches_who_is_still_sending",
        "test_limits.py::test_curl_shows_the_error_and_no_broken_pipe",
        "test_wire_auth.py::test_whoever_waits_hears_a_refusal_before_sending",
    ),
    42: ("test_wire_base.py::test_errors_are_json",),
    43: (
        "test_wire_base.py::test_who_is_to_come_again_is_told_when",
        "test_limits.py::test_who_comes_too_many_is_told_to_come_again",
    ),
    44: (
        "test_wire_lists.py::TestTags::test_tags_come_in_byte_order",
        "test_wire_lists.py::TestTags::test_pages_follow_each_other",
        "test_wire_lists.py::TestTags::test_none_are_asked_for",
        "test_wire_lists.py::TestTags::test_a_bad_number_is_400",
        "test_wire_lists.py::test_the_catalog_comes_in_pages",
    ),
    45: (
        "test_wire_auth.py::TestRealm::test_a_trusted_proxy_says_what_the_client_asked",
        "test_wire_auth.py::TestRealm::test_nobody_else_does",
    ),
    46: (
        "test_wire_base.py::test_names_may_be_words_of_the_api",
        "test_wire_base.py::test_percent_encoded_paths_are_the_same",
        "test_wire_base.py::test_a_name_outside_the_grammar_is_400",
    ),
    47: ("test_wire_auth.py::test_the_namespace_of_a_mirror_is_taken_everywhere",),
    48: (
        "test_wire_base.py::test_no_signatures_are_promised",
        "test_wire_base.py::test_one_connection_serves_many_requests",
        "test_wire_blobs.py::test_many_parts_are_pulled_at_once",
    ),
}


def test_no_item_is_left_out() -> None:
    assert list(ITEMS) == list(range(1, 49))


@pytest.mark.parametrize("item", ITEMS)
def test_every_item_has_its_tests(item: int) -> None:
    missing = [test for test in ITEMS[item] if test.partition("::")[2] not in _tests_in(test.partition("::")[0])]
    assert missing == []


@cache
def _tests_in(file: str) -> frozenset[str]:
    """The tests of a file, as `test_a` and `TestA::test_a`."""
    found = set()
    for node in ast.parse((_HERE / file).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}::{inner.name}"
                for inner in node.body
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return frozenset(found)
