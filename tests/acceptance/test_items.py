"""LAYERS, items 1-46 and S1-S10: which tests show each, and the tests of what no room shows alone.

The table is checked: a test that is renamed or removed is missed here.
"""

import ast
import json
import os
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.images import read_layer
from tests.programs import PROJECT, LayerkitProcess

LATER: Final = {
    "34": "zstd:chunked is not written; what others wrote is read as any zstd with skippable frames",
}

ITEMS: Final[dict[str, tuple[str, ...]]] = {
    "1": ("layer/test_tar.py::TestArchive::test_it_is_of_one_dialect",),
    "2": (
        "layer/test_tar.py::TestHeader::test_an_id_of_7_octal_digits_needs_no_pax_and_a_longer_one_leaves_0_in_the_field",
        "layer/test_tar.py::TestHeader::test_a_size_of_11_octal_digits_needs_no_pax",
        "layer/test_tar.py::TestHeader::test_a_path_needs_pax_only_where_ustar_cannot_hold_it",
        "layer/test_tar.py::TestHeader::test_a_link_needs_pax_above_100_bytes",
        "acceptance/test_matrix.py::test_go_reads_the_size_of_a_file_of_8_gib",
    ),
    "3": (
        "layer/test_tar.py::TestHeader::test_a_pax_header_is_made_of_constants_and_the_name",
        "layer/test_tar.py::TestHeader::test_pax_records_are_sorted_and_none_is_of_a_time",
        "layer/test_tar.py::TestHeader::test_the_length_of_a_record_counts_its_own_digits",
        "layer/test_tar.py::TestHeader::test_the_largest_pax_header_is_below_1_mib",
    ),
    "4": (
        "layer/test_tar.py::TestHeader::test_every_mode_and_every_mtime_is_kept",
        "layer/test_entry.py::TestAttributes::test_an_mtime_is_whole_seconds_below_2_to_the_33",
        "build/test_scan.py::TestAttributes::test_the_time_of_the_source_is_not_taken",
        "build/test_plan_changes.py::TestMarks::test_times_of_the_source_are_kept_up_to_the_newest",
    ),
    "5": ("layer/test_tar.py::TestHeader::test_its_fields_stand_where_ustar_has_them",),
    "6": (
        "layer/test_tar.py::TestHeader::test_the_name_of_the_root_is_a_dot_and_a_slash",
        "layer/test_entry.py::TestPath::test_a_path_that_is_not_plain_and_relative_is_refused",
        "build/test_scan.py::TestDestinations::test_a_folder_copied_to_the_root_sets_nothing_of_the_root",
        "build/test_plan_changes.py::TestDirectories::test_the_root_has_an_entry_where_its_attributes_are_set",
    ),
    "7": ("layer/test_tar.py::TestReaders::test_a_long_directory_keeps_the_slash_at_its_end",),
    "8": (
        "layer/test_entry.py::TestAttributes::test_a_mode_is_its_low_12_bits_only",
        "build/test_scan.py::TestAttributes::test_the_umask_and_the_modes_of_folders_change_nothing",
        "build/test_scan.py::TestAttributes::test_of_the_mode_the_execute_bit_alone_counts",
    ),
    "9": (
        "layer/test_tar.py::TestArchive::test_it_ends_with_two_zero_records_and_nothing_more",
        "layer/test_index.py::TestEnds::test_a_missing_trailer_is_accepted",
    ),
    "10": (
        "layer/test_arrange.py::test_the_order_does_not_depend_on_that_of_the_input",
        "layer/test_arrange.py::TestOrder::test_whiteouts_come_before_their_siblings",
        "layer/test_arrange.py::test_whoever_reads_from_the_start_never_meets_what_he_does_not_know",
    ),
    "11": (
        "layer/test_arrange.py::TestSharing::test_a_path_is_there_once",
        "build/test_plan.py::TestLinksBelow::test_two_ways_to_one_path_are_one_path",
    ),
    "12": (
        "build/test_plan.py::TestParents::test_they_keep_what_the_base_gave_them",
        "build/test_plan.py::TestParents::test_on_nothing_they_are_of_root",
        "acceptance/test_bases.py::TestFromTheInside::test_modes_and_owners_are_those_of_the_spec_and_of_the_base",
    ),
    "13": (
        "build/test_plan.py::TestLinksBelow::test_entries_go_to_where_links_lead",
        "acceptance/test_bases.py::TestFromTheInside::test_symlinks_of_the_base_stay_symlinks",
    ),
    "14": (
        "layer/test_entry.py::TestAttributes::test_setuid_setgid_and_sticky_stay_where_they_are_declared",
        "build/test_plan_changes.py::TestWarnings::test_of_modes_that_few_mean",
    ),
    "15": (
        "layer/test_arrange.py::TestHardlinks::test_a_target_comes_before_its_link",
        "layer/test_arrange.py::TestHardlinks::test_a_target_in_another_layer_is_refused",
        "layer/test_arrange.py::TestHardlinks::test_a_link_has_the_attributes_of_its_target",
        "layer/test_tar.py::TestHeader::test_a_link_has_no_content_and_a_device_has_its_numbers",
    ),
    "16": ("acceptance/test_items.py::test_hardlinks_of_the_source_are_files_of_their_own",),
    "17": (
        "layer/test_entry.py::TestSymlinks::test_a_target_is_stored_verbatim",
        "layer/test_entry.py::TestSymlinks::test_a_target_that_climbs_above_the_root_is_refused",
        "layer/test_entry.py::TestSymlinks::test_its_mode_is_0777",
    ),
    "18": (
        "build/test_scan.py::TestSpecialFiles::test_sockets_and_devices_are_left_out_with_a_warning",
        "build/test_scan.py::TestSpecialFiles::test_pipes_are_copied_and_nobody_waits_for_their_other_end",
        "layer/test_entry.py::TestDevices::test_a_device_number_fits",
    ),
    "19": ("layer/test_tar.py::TestArchive::test_a_sparse_file_is_plain_data",),
    "20": (
        "layer/test_entry.py::TestXattrs::test_a_name_that_pax_cannot_say_is_refused",
        "layer/test_entry.py::TestXattrs::test_an_empty_value_is_refused",
        "layer/test_tar.py::TestHeader::test_pax_records_are_sorted_and_none_is_of_a_time",
    ),
    "21": (
        "acceptance/test_items.py::test_xattrs_of_the_source_stay_where_they_are",
        "build/test_plan.py::TestParents::test_of_odd_attributes_they_keep_what_a_layer_of_ours_can_say",
    ),
    "22": (
        "spec/test_capability_bytes.py::test_the_bytes_are_those_of_the_kernel",
        "spec/test_capability_bytes.py::test_revision_3_loses_the_root_of_its_namespace",
        "acceptance/test_bases.py::TestFromTheInside::test_a_capability_is_there_and_works",
    ),
    "23": ("acceptance/test_matrix.py::test_every_reader_makes_of_a_fixture_what_was_planned",),
    "24": (
        "layer/test_entry.py::TestWhiteouts::test_a_deletion_is_an_empty_file_beside_what_it_deletes",
        "layer/test_tar.py::TestHeader::test_a_whiteout_is_an_empty_regular_file_of_mode_0",
        "build/test_plan_changes.py::TestRemovals::test_what_nothing_below_has_is_refused",
        "build/test_plan_changes.py::TestRemovals::test_a_folder_can_become_a_file_or_a_link",
    ),
    "25": (
        "layer/test_entry.py::TestWhiteouts::test_a_users_file_never_passes_for_a_whiteout",
        "layer/test_index.py::TestWhiteouts::test_the_bookkeeping_of_aufs_is_passed_over",
    ),
    "26": ("layer/test_arrange.py::TestSharing::test_a_whiteout_and_an_entry_of_one_name_never_share_a_layer",),
    "27": (
        "layer/test_write.py::TestDigests::test_diff_id_is_of_the_tar_and_the_descriptor_is_of_what_is_stored",
        "layer/test_write.py::TestDigests::test_they_coincide_where_nothing_is_compressed",
        "image/test_image.py::test_layers_diff_ids_and_history_grow_together",
    ),
    "28": ("layer/test_compress.py::TestGzip::test_the_header_is_10_bytes_of_constants",),
    "29": (
        "layer/test_compress.py::TestGzip::test_it_is_a_single_member",
        "layer/test_index.py::TestStorage::test_members_and_frames_follow_each_other",
        "acceptance/test_matrix.py::test_every_reader_makes_of_a_fixture_what_was_planned",
    ),
    "30": (
        "layer/test_compress.py::TestGzip::test_each_block_is_compressed_on_its_own_and_ends_at_a_whole_byte",
        "layer/test_tar.py::TestBlocks::test_they_end_at_1_mib_before_big_files_and_before_one_path_in_64",
        "layer/test_tar.py::TestBlocks::test_all_outside_of_the_stretch_of_an_edit_are_the_same",
    ),
    "31": (
        "layer/test_compress.py::TestCodecs::test_every_compression_has_one_and_the_media_type_says_which",
        "acceptance/test_matrix.py::TestZstd::test_they_are_read_as_any_other",
        "acceptance/test_matrix.py::TestZstd::test_umoci_refuses_them_by_their_type",
        "acceptance/test_matrix.py::TestZstd::test_docker_refuses_them_until_its_version_23",
        "clients/test_archives.py::TestOursForOthers::test_layers_by_zstd_are_for_those_who_know_it",
    ),
    "32": (
        "layer/test_compress.py::TestZstd::test_each_block_is_a_frame_with_the_size_and_a_checksum_of_its_content",
        "layer/test_compress.py::TestZstd::test_windows_stay_within_what_every_decoder_takes_at_every_level",
        "layer/test_compress.py::TestZstd::test_the_number_of_threads_changes_no_byte",
    ),
    "33": (
        "layer/test_estargz.py::TestContents::test_each_file_is_had_by_the_table_alone",
        "layer/test_estargz.py::TestContents::test_members_begin_where_they_must_and_nowhere_else",
        "layer/test_estargz.py::TestTable::test_it_says_of_each_entry_what_the_tar_says",
        "layer/test_estargz.py::TestTable::test_the_table_is_the_last_file_of_the_tar",
        "layer/test_estargz.py::TestLayer::test_the_descriptor_is_that_of_a_layer_by_gzip_with_two_annotations",
        "acceptance/test_matrix.py::TestEstargz::test_every_reader_reads_it_as_any_other",
    ),
    "34": (
        "layer/test_index.py::TestStorage::test_empty_members_skippable_frames_and_zeros_at_the_end_are_passed_over",
    ),
    "35": (
        "oci/test_manifest.py::test_a_non_distributable_layer_is_not_required",
        "oci/test_manifest.py::test_urls_do_not_make_a_layer_non_distributable",
        "test_transfer.py::TestOrder::test_a_layer_that_may_not_be_distributed_stays_where_it_is",
    ),
    "36": (
        "build/test_builder.py::TestLayersOfTheBase::test_they_keep_their_bytes_and_ours_come_on_top",
        "build/test_builder.py::TestLayersOfTheBase::test_docker_schema_2_becomes_oci_by_its_types_alone",
        "acceptance/test_bases.py::TestFromTheOutside::test_the_base_s_layers_are_its_very_bytes",
    ),
    "37": (
        "layer/test_write.py::TestDigests::test_the_golden_layer_has_the_digests_that_it_always_had",
        "cli/test_reproducible.py::test_the_digest_is_the_golden_one",
    ),
    "38": ("layer/test_tar.py::TestBlocks::test_they_do_not_depend_on_the_sizes_of_reads",),
    "39": (
        "layer/test_compress.py::TestCodecs::test_the_record_names_all_that_decides_the_bytes",
        "cli/test_repro.py::test_a_build_is_the_same_in_other_conditions",
        "cli/test_repro.py::test_what_differs_is_named",
    ),
    "40": (
        "build/test_builder.py::TestScratch::test_a_config_has_what_runtimes_require",
        "oci/test_config.py::test_the_canonical_form_is_these_bytes",
        "oci/test_config.py::test_unknown_keys_are_preserved",
        "image/test_configure.py::test_a_variable_that_the_base_has_twice_is_there_once",
    ),
    "41": (
        "build/test_builder.py::TestHistory::test_as_many_steps_as_layers",
        "build/test_plan.py::TestDescriptions::test_history_is_readable_and_short",
        "acceptance/test_bases.py::TestFromTheOutside::test_config_and_history_are_the_base_s_and_ours",
    ),
    "42": (
        "oci/test_manifest.py::test_a_media_type_that_differs_from_the_content_type_is_refused",
        "oci/test_manifest.py::test_a_document_that_is_an_image_and_an_index_is_refused",
        "image/test_image.py::test_a_manifest_is_what_a_reader_expects",
        "acceptance/test_bases.py::TestFromTheOutside::test_the_base_s_layers_are_its_very_bytes",
    ),
    "43": (
        "build/test_several.py::TestPlatforms::test_several_are_an_index_in_the_order_of_the_file",
        "build/test_several.py::TestPlatforms::test_annotations_are_of_the_manifests_and_what_they_share_of_the_index",
        "oci/test_platform.py::test_every_spelling_of_a_platform_becomes_one",
        "image/test_select.py::test_the_exact_variant_then_the_next_lower",
        "image/test_select.py::test_else_all_that_there_are_are_listed",
    ),
    "44": (
        "oci/test_descriptor.py::test_the_empty_descriptor_is_the_spec_s",
        "remote/test_referrers.py::TestWriting::test_without_an_answer_about_the_subject_the_tag_is_written",
        "remote/test_referrers.py::TestReading::test_the_tag_has_them_where_there_is_no_api",
    ),
    "45": (
        "content/test_export.py::TestContent::test_both_lists_name_the_image_and_every_blob_is_there",
        "clients/test_archives.py::TestOursForOthers::test_docker_loads_every_name_and_runs_it",
        "clients/test_archives.py::TestOursForOthers::test_podman_loads_every_name_and_runs_it",
        "clients/test_archives.py::TestOursForOthers::test_skopeo_reads_both_transports",
    ),
    "46": (
        "build/test_builder.py::TestLayersOfTheBase::test_no_more_than_120_layers",
        "build/test_plan.py::TestDescriptions::test_many_layers_are_a_warning",
    ),
    "S1": ("acceptance/test_security.py::TestS1AndS2AndS3::test_nothing_is_read_or_written_outside",),
    "S2": (
        "acceptance/test_security.py::TestS1AndS2AndS3::test_nothing_is_read_or_written_outside",
        "acceptance/test_items.py::test_no_room_has_a_way_to_unpack",
    ),
    "S3": (
        "layer/test_index.py::TestHostile::test_names_that_lead_out_are_refused",
        "acceptance/test_security.py::TestS1AndS2AndS3::test_nothing_is_read_or_written_outside",
    ),
    "S4": (
        "acceptance/test_security.py::TestS4::test_a_descriptor_that_is_none",
        "acceptance/test_security.py::TestS4::test_a_size_that_is_not_that_of_the_blob",
        "acceptance/test_security.py::TestARegistryThatLies::test_by_bodies_without_an_end",
    ),
    "S5": (
        "layer/test_index.py::TestHostile::test_what_costs_too_much_is_refused_by_the_name_of_the_limit",
        "acceptance/test_security.py::TestS5::test_json_that_is_nested_ten_thousand_deep",
        "acceptance/test_security.py::TestS5::test_indexes_within_indexes",
        "content/test_archive.py::TestHostile::test_a_bomb_ends_at_the_limit",
    ),
    "S6": (
        "acceptance/test_security.py::TestS6::test_a_layer_of_another_diff_id",
        "acceptance/test_security.py::TestS6::test_bytes_that_are_not_of_their_digest",
        "acceptance/test_security.py::TestARegistryThatLies::test_about_content",
    ),
    "S7": (
        "acceptance/test_security.py::TestS7::test_no_copy_leaves_the_context",
        "layer/test_source.py::test_a_file_that_changes_while_it_is_read_is_refused",
    ),
    "S8": (
        "acceptance/test_security.py::TestS8::test_what_lets_us_in_stays_with_the_registry",
        "remote/test_client.py::TestRedirects::test_a_redirect_is_followed_without_authorization_to_another_port",
        "remote/test_client.py::TestRedirects::test_a_location_on_another_host_is_sent_no_authorization",
        "remote/test_auth.py::test_secrets_are_in_no_repr_and_in_no_message",
    ),
    "S9": ("acceptance/test_items.py::test_what_looks_like_a_secret_is_warned_of",),
    "S10": ("acceptance/test_security.py::TestS10::test_manifests_and_layers_in_one_document",),
}


@cache
def names_in(file: str) -> frozenset[str]:
    """The tests of a file, below its name, with their classes."""
    return frozenset(_iter_tests(ast.parse((PROJECT / "tests" / file).read_text()).body, ""))


def _iter_tests(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            yield from _iter_tests(statement.body, f"{prefix}{statement.name}::")
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{statement.name}"


def test_every_item_is_shown_by_tests_that_there_are() -> None:
    assert list(ITEMS) == [*map(str, range(1, 47)), *(f"S{number}" for number in range(1, 11))]
    assert LATER.keys() <= ITEMS.keys()
    missing = []
    for item, ids in ITEMS.items():
        for test in ids:
            file, _, name = test.partition("::")
            if not (PROJECT / "tests" / file).exists() or name not in names_in(file):
                missing.append(f"{item}: {test}")
    assert missing == []


def built_layers(layerkit: LayerkitProcess, context: Path, spec: str) -> tuple[dict[str, tarfile.TarInfo], str]:
    """The entries of the only layer of what is built, and what the build said."""
    (context / "layerkit.yaml").write_text(spec)
    done = layerkit("build", "-f", context / "layerkit.yaml", "-t", "localhost/item:1")
    store = layerkit.data / "layerkit/store"
    manifest = json.loads((store / "blobs" / done.stdout.strip().replace(":", "/")).read_text())
    (layer,) = manifest["layers"]
    return read_layer(store, layer), done.stderr


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    return folder


def test_hardlinks_of_the_source_are_files_of_their_own(layerkit: LayerkitProcess, context: Path) -> None:
    """Item 16: default is to not preserve: what is a link on one machine is a copy on another."""
    (context / "tree").mkdir()
    (context / "tree/a").write_text("shared")
    os.link(context / "tree/a", context / "tree/b")
    entries, _ = built_layers(layerkit, context, "from: scratch\nlayers: [{copy: [./tree:/tree/]}]\n")
    assert {name: entries[name].type for name in ("tree/a", "tree/b")} == {
        "tree/a": tarfile.REGTYPE,
        "tree/b": tarfile.REGTYPE,
    }


def test_xattrs_of_the_source_stay_where_they_are(layerkit: LayerkitProcess, context: Path) -> None:
    """Item 21: what they are depends on the machine, its file system and its security module."""
    (context / "a").write_text("a")
    os.setxattr(context / "a", "user.note", b"of this machine")
    entries, _ = built_layers(layerkit, context, "from: scratch\nlayers: [{copy: [a:/a]}]\n")
    assert entries["a"].pax_headers == {}


def test_what_looks_like_a_secret_is_warned_of(layerkit: LayerkitProcess, context: Path) -> None:
    """S9: vars/env with secret-looking names: warn before writing into config."""
    spec = (
        "from: scratch\nlayers: [{copy: [{content: a, dest: /a}]}]\nconfig: {env: {DB_PASSWORD: hunter2, PATH: /bin}}\n"
    )
    _, said = built_layers(layerkit, context, spec)
    assert "DB_PASSWORD" in said
    assert "hunter2" not in said
    assert "PATH:" not in said


def test_no_room_has_a_way_to_unpack() -> None:
    """S2: never `tarfile.extractall`: nothing of layerkit calls what would unpack."""
    found = [
        f"{path.relative_to(PROJECT)}:{node.lineno}: {node.attr}"
        for path in (PROJECT / "layerkit").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"extractall", "extractfile", "unpack_archive"}
    ]
    assert found == []
