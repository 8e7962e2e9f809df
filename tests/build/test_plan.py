"""LAYERS, items 10-14: where the entries of a layer go, on top of what there is."""

import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from layerkit.build.filesystem import Filesystem
from layerkit.build.inputs import Inputs
from layerkit.build.plan import plan_build
from layerkit.build.planned import BuildPlan
from layerkit.document.problem import DocumentError
from layerkit.layer.entry import Entry, EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.index import LayerIndex, index_layer
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.mediatype import OCI_LAYER
from layerkit.spec.model import Spec
from tests.images import Member, file, folder, make_tar, member, symlink

DESCRIPTOR = Descriptor(media_type=OCI_LAYER, digest=Digest.of(b""), size=0)
"""Of any layer of a base: a plan does not look at it."""

Plan = Callable[..., BuildPlan]
Refuse = Callable[..., str]


def index(*members: Member) -> LayerIndex:
    return index_layer(io.BytesIO(make_tar(*members)), OCI_LAYER)


@pytest.fixture
def plan(load: Callable[..., Spec], context: Path) -> Plan:
    """Plan layers, each the YAML of its keys, on a base. The context has `file`, `tree/file` and `tree/sub/file`."""
    (context / "tree/sub").mkdir(parents=True)
    for name in ("file", "tree/file", "tree/sub/file"):
        (context / name).write_text(name)

    def _plan(*layers: str, base: Sequence[LayerIndex] = ()) -> BuildPlan:
        spec = load("from: scratch\nlayers:\n" + "".join(f"  - {{{layer}}}\n" for layer in layers))
        return plan_build(spec, Inputs(base=Filesystem.of([(DESCRIPTOR, index) for index in base])))

    return _plan


@pytest.fixture
def refuse(plan: Plan) -> Refuse:
    def _refuse(*layers: str, base: Sequence[LayerIndex] = ()) -> str:
        with pytest.raises(DocumentError) as caught:
            plan(*layers, base=base)
        (problem,) = caught.value.problems
        return f"{problem.line}:{problem.column}: {problem.message}"

    return _refuse


def entries(plan: BuildPlan, layer: int = 0) -> dict[str, Entry]:
    return {entry.path: entry for entry in plan.layers[layer].entries}


def attributes(entry: Entry) -> dict[str, Any]:
    return {"mode": entry.mode, "uid": entry.uid, "gid": entry.gid, "mtime": entry.mtime, "xattrs": entry.xattrs}


class TestFolders:
    """What is put where nothing is goes there a folder at a time, all else one by one: with the same result."""

    @pytest.mark.parametrize(
        "copies",
        [
            "./tree:/srv/",
            "./tree:/srv/, ./tree/sub:/srv/sub/, ./file:/srv/sub/file",
            "./tree:/srv/, {src: 'tree/**/file', dest: /srv/, owner: '7'}",
            "{src: tree, dest: /srv/, owner: '5:6', mtime: source, mode: '0666'}, ./tree:/srv/other/",
            "{src: '[tf]*', dest: /srv/}",
        ],
    )
    def test_the_ways_are_one(self, plan: Plan, context: Path, copies: str) -> None:
        (context / "tree/sub/link").symlink_to("file")
        (context / "tree/sub/.hidden").mkdir()
        (context / "tree/sub/.hidden/file").write_text("hidden")
        layer = f"copy: [{copies}]"
        paths = ("srv", "srv/sub", "srv/sub/.hidden", "srv/other", "srv/other/sub", "srv/tree", "srv/tree/sub")
        first = plan(layer)
        folders = [folder(path) for path in paths if path in entries(first)]
        assert folders
        beside = [file(f"{path}/beside", b"") for path in paths if path in entries(first)]
        # These have no attribute that a copy would not give them.
        second = plan(layer, base=[index(*folders, *beside)])
        of_spec = {path for path in entries(first) if entries(first)[path].type is not EntryType.DIRECTORY}
        assert {path: entries(first)[path] for path in of_spec} == {path: entries(second)[path] for path in of_spec}
        assert set(entries(first)) == set(entries(second))
        assert first.layers[0].provenance == second.layers[0].provenance
        assert first.warnings == second.warnings

    def test_of_sources_within_each_other_the_more_precise_one_wins(self, plan: Plan, context: Path) -> None:
        (context / "b/b").mkdir(parents=True)
        (context / "c").mkdir()
        (context / "c/file").write_text("c")
        (context / "b/b/b").symlink_to("../../c")
        found = plan("copy: [{src: '**/b', dest: /srv/}]")
        assert {path: entry.type.value for path, entry in entries(found).items()} == {
            "srv": "directory",
            "srv/b": "directory",
            "srv/b/b": "directory",
            "srv/b/b/b": "directory",
            "srv/b/b/b/file": "file",
        }
        assert found.layers[0].provenance["srv/b/b/b/file"].source == "c/file"
        assert not found.warnings


class TestParents:
    """LAYERS, item 12: "every parent directory explicitly with the attributes it already has in the base"."""

    def test_on_nothing_they_are_of_root(self, plan: Plan) -> None:
        found = entries(plan("owner: 7, copy: [./file:/a/b/c]"))
        assert [(path, entry.uid, entry.mode) for path, entry in found.items()] == [
            ("a", 0, 0o755),
            ("a/b", 0, 0o755),
            ("a/b/c", 7, 0o644),
        ]

    def test_they_keep_what_the_base_gave_them(self, plan: Plan) -> None:
        """ "`/tmp` must stay 1777"."""
        base = index(
            folder("tmp", mode=0o1777),
            folder("srv", mode=0o2770, uid=5, gid=2**31, mtime=1234, pax_headers={"SCHILY.xattr.user.a": "b"}),
        )
        found = entries(
            plan("owner: 7, dir_mode: '0700', copy: [./file:/tmp/, ./tree:/srv/, ./file:/srv/x/]", base=[base])
        )
        assert attributes(found["tmp"]) == {"mode": 0o1777, "uid": 0, "gid": 0, "mtime": 0, "xattrs": ()}
        assert attributes(found["srv"]) == {
            "mode": 0o2770,
            "uid": 5,
            "gid": 2**31,
            "mtime": 1234,
            "xattrs": (("user.a", b"b"),),
        }
        assert (found["srv/x"].uid, found["srv/x"].mode) == (7, 0o700)
        assert (found["srv/sub"].uid, found["srv/sub"].mode) == (7, 0o700)

    def test_of_odd_attributes_they_keep_what_a_layer_of_ours_can_say(self, plan: Plan) -> None:
        """LAYERS, items 4, 20 and 21: no time before 1970, no empty xattrs, none that speak of the host."""
        headers = {
            "mtime": "-5",
            "SCHILY.xattr.user.empty": "",
            "SCHILY.xattr.user.kept": "x",
            "SCHILY.xattr.security.selinux": "system_u:object_r:container_file_t:s0",
            "SCHILY.xattr.trusted.overlay.opaque": "y",
            "SCHILY.xattr.user.overlay.opaque": "y",
        }
        found = entries(plan("copy: [./file:/srv/]", base=[index(folder("srv", pax_headers=headers))]))
        assert (found["srv"].mtime, found["srv"].xattrs) == (0, (("user.kept", b"x"),))

    def test_a_layer_below_counts_as_the_base_does(self, plan: Plan) -> None:
        planned = plan("owner: 7, dir_mode: '0750', copy: [./tree:/srv]", "copy: [./file:/srv/sub/other]")
        assert [(entry.path, entry.uid, entry.mode) for entry in planned.layers[1].entries] == [
            ("srv", 7, 0o750),
            ("srv/sub", 7, 0o750),
            ("srv/sub/other", 0, 0o644),
        ]

    def test_what_a_layer_of_the_base_deleted_is_gone(self, plan: Plan, refuse: Refuse) -> None:
        lower = index(folder("a", uid=5), folder("a/b", uid=5), file("a/b/c"), folder("o", uid=6), file("o/p"))
        upper = index(file("a/.wh.b"), folder("o", uid=6), file("o/.wh..wh..opq"))
        found = entries(plan("copy: [./file:/a/b/c/d, ./tree:/o/p]", base=[lower, upper]))
        assert [(path, found[path].uid) for path in ("a", "a/b", "a/b/c", "o", "o/p")] == [
            ("a", 5),
            ("a/b", 0),
            ("a/b/c", 0),
            ("o", 6),
            ("o/p", 0),
        ]
        assert "/a/b/c is a file of a layer below" in refuse("copy: [./file:/a/b/c/d]", base=[lower])

    def test_no_entry_is_made_for_the_root(self, plan: Plan) -> None:
        """LAYERS, item 6: "root entry `./` omitted"."""
        base = index(folder("./", mode=0o700), symlink("self", "/"))
        assert set(entries(plan("copy: [./tree:/]", base=[base]))) == {"file", "sub", "sub/file"}
        assert set(entries(plan("copy: [./tree:/self]", base=[base]))) == {"file", "sub", "sub/file"}


class TestLinksBelow:
    """LAYERS, item 13: "If a parent is a symlink in a lower layer, rewrite the entry to the resolved path"."""

    @pytest.fixture
    def base(self) -> list[LayerIndex]:
        return [
            index(
                folder("usr"),
                folder("usr/lib", mode=0o711),
                symlink("lib", "usr/lib"),
                folder("run", mode=0o700),
                folder("var"),
                symlink("var/run", "/run"),
                symlink("opt", "nowhere/yet"),
                symlink("up", "../../usr/lib"),
                symlink("file", "usr/file"),
                file("usr/file"),
                symlink("loop", "loop"),
            )
        ]

    @pytest.mark.parametrize(
        ("copy", "paths"),
        [
            ("./file:/lib/x.so", {"usr", "usr/lib", "usr/lib/x.so"}),
            ("./file:/lib/", {"usr", "usr/lib", "usr/lib/file"}),
            ("./file:/var/run/a/b", {"run", "run/a", "run/a/b"}),
            ("./tree:/lib", {"usr", "usr/lib", "usr/lib/file", "usr/lib/sub", "usr/lib/sub/file"}),
            ("./tree:/var/run/", {"run", "run/file", "run/sub", "run/sub/file"}),
            ("./tree/**/file:/up/", {"usr", "usr/lib", "usr/lib/file", "usr/lib/sub", "usr/lib/sub/file"}),
            # Nothing is there yet: the folder is made where the link leads.
            ("./tree:/opt", {"nowhere", "nowhere/yet", "nowhere/yet/file", "nowhere/yet/sub", "nowhere/yet/sub/file"}),
            # A file takes the place of a link, as it would with `rm` and `mv`.
            ("./file:/file", {"file"}),
        ],
    )
    def test_entries_go_to_where_links_lead(
        self, plan: Plan, base: list[LayerIndex], copy: str, paths: set[str]
    ) -> None:
        found = entries(plan(f"owner: 7, copy: [{copy}]", base=base))
        assert set(found) == paths
        for path, mode in (("usr/lib", 0o711), ("run", 0o700)):
            if path in found:
                assert (found[path].mode, found[path].uid) == (mode, 0)

    def test_links_of_layers_of_the_same_spec_are_followed(self, plan: Plan) -> None:
        planned = plan("symlink: {/lib: usr/lib}", "copy: [./file:/lib/x.so]", "copy: [./tree:/lib/]")
        assert set(entries(planned, 1)) == {"usr", "usr/lib", "usr/lib/x.so"}
        assert set(entries(planned, 2)) == {"usr", "usr/lib", "usr/lib/file", "usr/lib/sub", "usr/lib/sub/file"}

    def test_two_ways_to_one_path_are_one_path(self, plan: Plan, base: list[LayerIndex]) -> None:
        """LAYERS, item 11: "No duplicate paths in one layer. Later copy wins at plan time with a warning"."""
        planned = plan("copy: [./file:/usr/lib/x, ./tree/file:/lib/x]", base=base)
        assert list(entries(planned)) == ["usr", "usr/lib", "usr/lib/x"]
        assert entries(planned)["usr/lib/x"].size == len("tree/file")
        (warning,) = planned.warnings
        assert warning.endswith("layerkit.yaml:3:32: /usr/lib/x is copied twice in one layer: the later one wins")

    def test_loops_are_told_at_the_copy(self, refuse: Refuse, base: list[LayerIndex]) -> None:
        assert refuse("copy: [./file:/loop/x]", base=base).startswith("3:13: 'loop/x' leads through more than")

    def test_a_link_within_the_layer_is_told(self, refuse: Refuse) -> None:
        message = refuse("copy: [./file:/lib/x], symlink: {/lib: usr/lib}")
        assert message.startswith("3:5: 'lib/x' is below 'lib', which is a symlink")


class TestConflicts:
    @pytest.mark.parametrize(
        ("copy", "message"),
        [
            (
                "./file:/etc",
                "3:13: /etc is a folder of a layer below, and cannot become a file: choose another destination, or ",
            ),
            ("./tree:/etc/passwd", "3:13: /etc/passwd is a file of a layer below, and cannot become a folder: "),
            ("./file:/etc/passwd/", "3:13: /etc/passwd is a file of a layer below, and cannot become a folder: "),
            ("./file:/etc/passwd/a/b", "3:13: /etc/passwd is a file of a layer below, and cannot become a folder: "),
            ("./file:/link/a", "3:13: /etc/passwd is a file of a layer below, and cannot become a folder: "),
            ("./tree:/link", "3:13: /etc/passwd is a file of a layer below, and cannot become a folder: "),
            ("./tree:/has", "3:13: /has/file is a folder of a layer below, and cannot become a file: "),
            ("./tree:/pipe", "3:13: /pipe is a fifo of a layer below, and cannot become a folder: "),
        ],
    )
    def test_files_and_folders_do_not_replace_each_other(self, refuse: Refuse, copy: str, message: str) -> None:
        base = index(
            folder("etc"),
            file("etc/passwd"),
            symlink("link", "etc/passwd"),
            folder("has"),
            folder("has/file"),
            member("pipe", tarfile.FIFOTYPE),
        )
        assert refuse(f"copy: [{copy}]", base=[base]).startswith(message)

    def test_a_link_does_not_replace_a_folder(self, refuse: Refuse) -> None:
        message = refuse("symlink: {/etc: x}", base=[index(folder("etc"))])
        assert message == (
            "3:16: /etc is a folder of a layer below, and cannot become a symlink: choose another destination, "
            "or `remove:` it in this layer"
        )

    @pytest.mark.parametrize(
        ("layer", "message"),
        [
            (
                "copy: [./file:/x, ./tree:/x]",
                "3:24: /x would be a folder, and is a file of the same layer, by line 3",
            ),
            (
                "copy: [./tree:/x, ./file:/x]",
                "3:24: /x would be a file, and is a folder of the same layer, by line 3",
            ),
            (
                "copy: [./tree:/x], symlink: {/x: y}",
                "3:35: /x would be a symlink, and is a folder of the same layer",
            ),
            ("copy: [./file:/x, ./file:/x/y]", "3:5: 'x/y' is below 'x', which is a file"),
        ],
    )
    def test_nor_within_one_layer(self, refuse: Refuse, layer: str, message: str) -> None:
        assert refuse(layer).startswith(message)

    def test_an_empty_folder_neither(self, refuse: Refuse, context: Path) -> None:
        """The layer could hold either of the two, and nobody would notice that the other is lost."""
        (context / "empty").mkdir()
        assert "/x would be a folder" in refuse("copy: [./file:/x, ./empty:/x]")
        assert "/x would be a file" in refuse("copy: [./empty:/x, ./file:/x]")

    def test_a_file_replaces_a_file_below_and_a_link(self, plan: Plan) -> None:
        base = index(file("a", uid=9), symlink("b", "a"))
        found = entries(plan("copy: [./file:/a, ./file:/b]", base=[base]))
        assert {path: (entry.type, entry.uid) for path, entry in found.items()} == {
            "a": (EntryType.FILE, 0),
            "b": (EntryType.FILE, 0),
        }

    def test_a_folder_that_two_copies_make_is_no_conflict(self, plan: Plan) -> None:
        planned = plan("copy: [{src: tree, dest: /x, owner: 1}, {src: tree/sub, dest: /x/, owner: 2}]")
        assert entries(planned)["x"].uid == 1
        assert [warning.partition(": ")[2] for warning in planned.warnings] == [
            "/x/file is copied twice in one layer: the later one wins"
        ]

    def test_a_base_that_no_engine_takes_is_refused(self, plan: Plan) -> None:
        with pytest.raises(LayerError, match="no engine takes such an image"):
            plan("copy: [./file:/x]", base=[index(file("a")), index(file("a/b"))])


class TestDescriptions:
    def test_a_layer_counts_its_files_and_their_bytes(self, plan: Plan) -> None:
        (layer,) = plan("name: app, copy: [./tree:/x/, {content: abc, dest: /y}], symlink: {/z: y}").layers
        assert (layer.name, layer.files, layer.size) == ("app", 3, len("tree/file" + "tree/sub/file" + "abc"))

    def test_history_is_readable_and_short(self, plan: Plan) -> None:
        """LAYERS, item 41: "`created_by` is what `docker history` shows: make it readable"."""
        planned = plan(
            "name: app, copy: [./tree:/x/, {content: abc, dest: /y}], symlink: {/z: y}",
            "copy: [" + ", ".join(f"./file:/{number:0100}" for number in range(9)) + "]",
        )
        assert planned.layers[0].created_by == "layerkit: app: ./tree:/x/, content:/y, /z -> y"
        assert planned.layers[1].created_by.startswith("layerkit: layer-2: ./file:/000")
        assert len(planned.layers[1].created_by) == 400

    @pytest.mark.parametrize(("count", "warned"), [(63, False), (64, True)])
    def test_many_layers_are_a_warning(self, plan: Plan, count: int, warned: bool) -> None:
        """LAYERS, item 46: "warn > 64"."""
        planned = plan("copy: [./file:/x]", base=[index(file("a"))] * count)
        assert (planned.warnings == (f"the image has {count + 1} layers: more than 64 are slow to mount",)) is warned

    def test_warnings_are_in_an_order_that_the_disk_does_not_choose(self, plan: Plan, context: Path) -> None:
        patterns = "exclude: [z, y, x, c, b, a]"
        planned = plan(f"copy: [{{src: tree, dest: /x, {patterns}}}]")
        assert list(planned.warnings) == sorted(planned.warnings)
        assert len(planned.warnings) == 6
