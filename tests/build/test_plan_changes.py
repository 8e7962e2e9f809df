"""What a plan makes of users, removals, directories, capabilities, times and copies of other images."""

import io
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from layerkit.build.filesystem import Filesystem, OpenTar
from layerkit.build.inputs import Inputs
from layerkit.build.pick import Donor
from layerkit.build.plan import plan_build
from layerkit.build.planned import BuildPlan
from layerkit.document.problem import DocumentError
from layerkit.layer.entry import Entry, EntryType
from layerkit.layer.index import LayerIndex, index_layer
from layerkit.layer.source import FileSource
from layerkit.layer.spool import open_tar
from layerkit.oci.descriptor import Descriptor
from layerkit.oci.digest import Digest
from layerkit.oci.mediatype import OCI_LAYER
from layerkit.spec.model import Copy, Spec
from tests.images import Member, file, folder, make_tar, member, symlink

Plan = Callable[..., BuildPlan]

PASSWD = b"root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/sh\n"
GROUP = b"root:x:0:\nwww-data:x:33:\n"
DOCS = (
    folder("usr"),
    folder("usr/share"),
    folder("usr/share/doc", mode=0o2775, uid=3),
    folder("usr/share/doc/a"),
    file("usr/share/doc/a/x"),
    file("usr/share/doc/b"),
    file("usr/share/doc/.hidden"),
    folder("usr/share/man"),
    symlink("doc", "usr/share/doc"),
)


def index(*members: Member) -> LayerIndex:
    return index_layer(io.BytesIO(make_tar(*members)), OCI_LAYER)


def filesystem(*layers: LayerIndex) -> Filesystem:
    return Filesystem.of(
        [
            (Descriptor(media_type=OCI_LAYER, digest=Digest.of(b"%d" % number), size=0), layer)
            for number, layer in enumerate(layers)
        ]
    )


@pytest.fixture
def plan(load: Callable[..., Spec], context: Path) -> Plan:
    """Plan the layers of a spec, each the YAML of its keys; `more` are other keys of it. The context has `file`."""
    (context / "file").write_text("file")

    def _plan(
        *layers: str,
        base: Sequence[LayerIndex] = (),
        more: str = "",
        donor: Filesystem | None = None,
        newest: int = 2**33 - 1,
    ) -> BuildPlan:
        listed = "".join(f"  - {{{layer}}}\n" for layer in layers)
        spec = load(f"from: scratch\n{more}" + (f"layers:\n{listed}" if listed else ""))
        origins = [copy.origin for layer in spec.layers for copy in layer.copies if isinstance(copy, Copy)]
        donors = {origin: Donor("other", donor) for origin in origins if origin is not None and donor is not None}
        return plan_build(spec, Inputs(base=filesystem(*base), donors=donors, newest=newest))

    return _plan


@pytest.fixture
def refuse(plan: Plan) -> Callable[..., str]:
    def _refuse(*layers: str, **fields: Any) -> str:
        with pytest.raises(DocumentError) as caught:
            plan(*layers, **fields)
        (problem,) = caught.value.problems
        return f"{problem.line}:{problem.column}: {problem.message}; {problem.hint}"

    return _refuse


def entries(plan: BuildPlan, layer: int = 0) -> dict[str, Entry]:
    return {entry.path: entry for entry in plan.layers[layer].entries}


def content(entry: Entry) -> bytes:
    assert entry.source is not None
    return b"".join(entry.source.pieces(2**20))


class TestUsers:
    """SPEC, "Config": "Changes to `/etc/passwd` and `/etc/group` form one generated last layer"."""

    USERS = "users: {app: {uid: 10001, home: /srv/app, groups: [www-data]}}\n"

    def test_on_nothing_both_files_are_made(self, plan: Plan) -> None:
        planned = plan("name: app, owner: app, copy: [./file:/srv/x]", more="users: {app: {uid: 10001}}\n")
        assert [layer.name for layer in planned.layers] == ["app", "users"]
        assert (entries(planned)["srv/x"].uid, entries(planned)["srv/x"].gid) == (10001, 10001)
        users = entries(planned, 1)
        assert list(users) == ["etc", "etc/group", "etc/passwd"]
        assert content(users["etc/passwd"]) == b"app:x:10001:10001::/:/usr/sbin/nologin\n"
        assert content(users["etc/group"]) == b"app:x:10001:\n"
        assert users["etc/passwd"].mode == 0o644
        assert planned.layers[1].created_by == "layerkit: users: app"

    def test_the_base_s_are_added_to_and_keep_their_attributes(self, plan: Plan) -> None:
        base = index(folder("etc", uid=4), file("etc/passwd", PASSWD, mode=0o664, gid=42), file("etc/group", GROUP))
        users = entries(plan(base=[base], more=self.USERS))
        assert content(users["etc/passwd"]) == PASSWD + b"app:x:10001:10001::/srv/app:/usr/sbin/nologin\n"
        assert content(users["etc/group"]) == b"root:x:0:\nwww-data:x:33:app\napp:x:10001:\n"
        assert (users["etc/passwd"].mode, users["etc/passwd"].gid, users["etc"].uid) == (0o664, 42, 4)

    def test_what_a_layer_of_the_spec_writes_counts(self, plan: Plan) -> None:
        written = r"""copy: [{content: "web:x:5:5::/:/bin/sh\n", dest: /etc/passwd}]"""
        planned = plan(written, more="users: {app: {uid: 9}}\n")
        assert content(entries(planned, 1)["etc/passwd"]).startswith(b"web:x:5:5::/:/bin/sh\napp:x:9:9:")

    def test_files_behind_links_are_changed_where_they_are(self, plan: Plan) -> None:
        base = index(
            folder("etc"),
            symlink("etc/passwd", "../usr/etc/passwd"),
            folder("usr"),
            folder("usr/etc"),
            file("etc/group"),
        )
        users = entries(plan(base=[base], more="users: {app: {uid: 9}}\n"))
        assert "usr/etc/passwd" in users
        assert "etc/passwd" not in users

    def test_a_user_that_is_there_already_makes_no_layer(self, plan: Plan) -> None:
        base = index(
            folder("etc"), file("etc/passwd", b"app:x:9:9::/:/usr/sbin/nologin\n"), file("etc/group", b"app:x:9:\n")
        )
        assert plan(base=[base], more="users: {app: {uid: 9}}\n").layers == ()

    def test_names_of_the_base_own_files(self, plan: Plan) -> None:
        base = index(folder("etc"), file("etc/passwd", PASSWD), file("etc/group", GROUP))
        found = entries(
            plan("owner: www-data, copy: [./file:/x, {src: ./file, dest: /y, owner: '0:www-data'}]", base=[base])
        )
        assert [(entry.uid, entry.gid) for entry in found.values()] == [(33, 33), (0, 33)]

    def test_mistakes_stand_at_their_line(self, refuse: Callable[..., str]) -> None:
        base = index(folder("etc"), file("etc/passwd", PASSWD), file("etc/group", GROUP))
        message = refuse("owner: web, copy: [./file:/x]", base=[base])
        assert message.startswith("3:25: no user of the image or of `users:` is named 'web'")
        message = refuse(base=[base], more="users:\n  a: {uid: 5}\n  b: {uid: 33}\n")
        assert message.startswith("4:3: user 'b': the image's user 'www-data' has the uid 33")


class TestRemovals:
    """LAYERS, items 24-26."""

    def test_a_file_and_a_folder_have_a_whiteout_each(self, plan: Plan) -> None:
        found = entries(plan("remove: [/usr/share/doc/a, /usr/share/doc/b]", base=[index(*DOCS)]))
        assert list(found) == ["usr", "usr/share", "usr/share/doc", "usr/share/doc/.wh.a", "usr/share/doc/.wh.b"]
        assert (found["usr/share/doc"].mode, found["usr/share/doc"].uid) == (0o2775, 3)
        assert found["usr/share/doc/.wh.a"].type is EntryType.WHITEOUT

    def test_links_on_the_way_are_followed_and_a_link_itself_is_removed(self, plan: Plan) -> None:
        found = entries(plan("remove: [/doc/b]", base=[index(*DOCS)]))
        assert "usr/share/doc/.wh.b" in found
        assert list(entries(plan("remove: [/doc]", base=[index(*DOCS)]))) == [".wh.doc"]

    @pytest.mark.parametrize(
        ("pattern", "hidden"),
        [
            ("/usr/share/doc/*", ["usr/share/doc/.wh.a", "usr/share/doc/.wh.b"]),
            ("/usr/share/doc/**", ["usr/share/doc/.wh.a", "usr/share/doc/.wh.b"]),
            ("/usr/share/doc/.h*", ["usr/share/doc/.wh..hidden"]),
            ("/usr/**/x", ["usr/share/doc/a/.wh.x"]),
            ("/usr/share/[dm]*", ["usr/share/.wh.doc", "usr/share/.wh.man"]),
            ("/**/doc", [".wh.doc", "usr/share/.wh.doc"]),
        ],
    )
    def test_globs(self, plan: Plan, pattern: str, hidden: list[str]) -> None:
        found = entries(plan(f"remove: ['{pattern}']", base=[index(*DOCS)]))
        assert [path for path, entry in found.items() if entry.type is EntryType.WHITEOUT] == hidden

    def test_what_is_within_something_that_is_removed_needs_no_whiteout(self, plan: Plan) -> None:
        found = entries(plan("remove: [/usr/share/doc/a/x, /usr/share/doc, /usr/share/doc/a]", base=[index(*DOCS)]))
        assert list(found) == ["usr", "usr/share", "usr/share/.wh.doc"]

    def test_a_folder_that_is_removed_and_copied_into_is_empty_but_for_that(self, plan: Plan) -> None:
        """A removal is of the layers below, and the layer's own copies come after it."""
        planned = plan("remove: [/usr/share/doc], copy: [./file:/usr/share/doc/a/new]", base=[index(*DOCS)])
        found = entries(planned)
        assert list(found) == [
            "usr",
            "usr/share",
            "usr/share/doc",
            "usr/share/doc/.wh..hidden",
            "usr/share/doc/.wh.b",
            "usr/share/doc/a",
            "usr/share/doc/a/.wh.x",
            "usr/share/doc/a/new",
        ]
        # It is another folder than the one that was removed.
        assert (found["usr/share/doc"].mode, found["usr/share/doc"].uid) == (0o755, 0)

    def test_a_folder_can_become_a_file_or_a_link(self, plan: Plan) -> None:
        found = entries(plan("remove: [/usr/share/doc], copy: [./file:/usr/share/doc]", base=[index(*DOCS)]))
        assert list(found) == ["usr", "usr/share", "usr/share/doc"]
        found = entries(plan("remove: [/usr/share], symlink: {/usr/share: ../share}", base=[index(*DOCS)]))
        assert found["usr/share"].type is EntryType.SYMLINK

    def test_a_file_can_become_a_folder(self, plan: Plan) -> None:
        found = entries(plan("remove: [/usr/share/doc/b], copy: [./file:/usr/share/doc/b/c]", base=[index(*DOCS)]))
        assert found["usr/share/doc/b"].type is EntryType.DIRECTORY
        assert not any(entry.type is EntryType.WHITEOUT for entry in found.values())

    def test_a_later_layer_does_not_see_it_any_more(self, plan: Plan, refuse: Callable[..., str]) -> None:
        planned = plan("remove: [/usr/share/doc]", "copy: [./file:/usr/share/doc/b]", base=[index(*DOCS)])
        assert (entries(planned, 1)["usr/share/doc"].mode, entries(planned, 1)["usr/share/doc"].uid) == (0o755, 0)
        message = refuse("remove: [/usr/share/doc]", "remove: [/usr/share/doc/b]", base=[index(*DOCS)])
        assert message.startswith("4:15: no layer below has /usr/share/doc/b")

    def test_what_an_earlier_layer_of_the_spec_made_can_be_removed(self, plan: Plan) -> None:
        planned = plan("copy: [./file:/a/b]", "remove: [/a]")
        assert list(entries(planned, 1)) == [".wh.a"]

    def test_what_nothing_below_has_is_refused(self, refuse: Callable[..., str]) -> None:
        """LAYERS, item 24: "Only for paths existing in a *lower* layer"."""
        base = [index(*DOCS)]
        assert refuse("remove: [/usr/share/dox]", base=base) == (
            "3:15: no layer below has /usr/share/dox; did you mean '/usr/share/doc'?"
        )
        assert refuse("remove: ['/usr/lib/*']", base=base).startswith("3:15: no layer below has /usr/lib/*; ")
        assert refuse("copy: [./file:/a], remove: [/a]").endswith(
            "what the layer itself copies is removed by not copying it"
        )


class TestDirectories:
    def test_it_is_made_with_its_attributes(self, plan: Plan) -> None:
        found = entries(plan("owner: '7:8', directory: [/a/b, {path: /c, mode: '01777', owner: 0}]"))
        assert [(path, e.mode, e.uid, e.gid) for path, e in found.items()] == [
            ("a", 0o755, 0, 0),
            ("a/b", 0o755, 7, 8),
            ("c", 0o1777, 0, 0),
        ]

    def test_one_that_exists_keeps_what_nobody_sets(self, plan: Plan) -> None:
        base = index(folder("tmp", mode=0o1777), folder("srv", uid=5))
        found = entries(plan("directory: [/tmp, {path: /srv, owner: 9}]", base=[base]))
        assert (found["tmp"].mode, found["srv"].uid) == (0o1777, 9)

    def test_it_wins_over_the_folder_that_a_copy_makes(self, plan: Plan) -> None:
        found = entries(plan("copy: [./file:/srv/x/], directory: [{path: /srv/x, mode: '0700'}]"))
        assert found["srv/x"].mode == 0o700

    def test_the_root_has_an_entry_where_its_attributes_are_set(self, plan: Plan) -> None:
        """LAYERS, item 6: "root entry `./` omitted unless the user sets root's attributes"."""
        assert entries(plan("directory: [{path: /, mode: '0700'}]"))["."].mode == 0o700
        assert "." not in entries(plan("directory: [/, /a]"))


class TestMarks:
    def test_capabilities_are_of_the_files(self, plan: Plan, context: Path) -> None:
        (context / "tree").mkdir()
        (context / "tree/tool").write_text("x")
        (context / "tree/link").symlink_to("tool")
        found = entries(plan("copy: [{src: ./tree, dest: /opt, caps: cap_net_bind_service=ep}]"))
        value = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
        assert found["opt/tool"].xattrs == (("security.capability", value),)
        assert found["opt"].xattrs == found["opt/link"].xattrs == ()

    @pytest.mark.parametrize(("newest", "mtime"), [(2**33 - 1, 1_600_000_000), (1_500_000_000, 1_500_000_000)])
    def test_times_of_the_source_are_kept_up_to_the_newest(
        self, plan: Plan, context: Path, newest: int, mtime: int
    ) -> None:
        """LAYERS, item 4: "clamped to `min(mtime, SOURCE_DATE_EPOCH)`"; whole seconds."""
        os.utime(context / "file", ns=(0, 1_600_000_000_999_999_999))
        found = entries(plan("copy: [{src: ./file, dest: /a, mtime: source}, ./file:/b]", newest=newest))
        assert (found["a"].mtime, found["b"].mtime) == (mtime, 0)

    def test_a_time_before_1970_is_0(self, plan: Plan, context: Path) -> None:
        os.utime(context / "file", ns=(0, -(10**9)))
        assert entries(plan("copy: [{src: ./file, dest: /a, mtime: source}]"))["a"].mtime == 0


class TestOtherImages:
    OTHER = make_tar(
        folder("etc", mode=0o700, uid=9),
        file("etc/passwd", PASSWD, mode=0o640, uid=1, gid=2, mtime=1000),
        folder("usr"),
        folder("usr/bin"),
        file("usr/bin/tool", b"tool", mode=0o4711, uid=5, mtime=2000),
        member("usr/bin/alias", b"1", linkname="usr/bin/tool"),
        symlink("usr/bin/sh", "tool"),
        symlink("bin", "usr/bin"),
        symlink("broken", "nowhere"),
        member("usr/bin/null", b"3", devmajor=1, devminor=3),
        member("usr/bin/pipe", b"6"),
        folder("usr/share"),
        file("usr/share/a.txt", b"a"),
        file("usr/share/b.bin", b"b"),
        folder("usr/share/deep"),
        file("usr/share/deep/c.txt", b"c"),
    )

    @pytest.fixture
    def other(self, tmp_path: Path) -> Filesystem:
        (tmp_path / "other.tar").write_bytes(self.OTHER)
        with (tmp_path / "other.tar").open("rb") as tar:
            index, contents = open_tar(tar, tmp_path)
        found = Filesystem()
        found.add(index.entries, OpenTar(contents))
        return found

    @staticmethod
    def take(plan: Plan, other: Filesystem, copy: str, **fields: Any) -> dict[str, Entry]:
        return entries(plan(f"copy: [{{from: store:other, {copy}}}]", donor=other, **fields))

    def test_of_a_file_the_execute_bit_alone_is_taken(self, plan: Plan, other: Filesystem) -> None:
        found = self.take(plan, other, "src: /usr/bin/tool, dest: /x/, owner: '7:8'")
        assert list(found) == ["x", "x/tool"]
        tool = found["x/tool"]
        assert (tool.mode, tool.uid, tool.gid, tool.mtime, content(tool)) == (0o755, 7, 8, 0, b"tool")

    def test_a_folder_copies_its_contents(self, plan: Plan, other: Filesystem) -> None:
        found = self.take(plan, other, "src: /usr/share, dest: /opt, dir_mode: '0750'")
        assert {path: entry.type for path, entry in found.items()} == {
            "opt": EntryType.DIRECTORY,
            "opt/a.txt": EntryType.FILE,
            "opt/b.bin": EntryType.FILE,
            "opt/deep": EntryType.DIRECTORY,
            "opt/deep/c.txt": EntryType.FILE,
        }
        assert found["opt"].mode == found["opt/deep"].mode == 0o750
        assert content(found["opt/deep/c.txt"]) == b"c"

    def test_globs_keep_the_paths_below_their_fixed_part_and_excludes_apply(
        self, plan: Plan, other: Filesystem
    ) -> None:
        found = self.take(plan, other, 'src: "/usr/share/**/*.txt", dest: /o/')
        assert list(found) == ["o", "o/a.txt", "o/deep", "o/deep/c.txt"]
        found = self.take(plan, other, 'src: /usr/share, dest: /o/, exclude: ["*.txt", "!a.txt"]')
        assert list(found) == ["o", "o/a.txt", "o/b.bin", "o/deep"]

    def test_links_on_the_way_are_followed_and_those_within_are_kept(self, plan: Plan, other: Filesystem) -> None:
        assert content(self.take(plan, other, "src: /bin/sh, dest: /x")["x"]) == b"tool"
        found = self.take(plan, other, "src: /bin, dest: /x")
        assert (found["x/sh"].type, found["x/sh"].link) == (EntryType.SYMLINK, "tool")

    def test_hardlinks_become_files_and_devices_stay_out(self, plan: Plan, other: Filesystem) -> None:
        planned = plan("copy: [{from: store:other, src: /usr/bin, dest: /x}]", donor=other)
        found = entries(planned)
        assert content(found["x/alias"]) == content(found["x/tool"]) == b"tool"
        assert found["x/pipe"].type is EntryType.FIFO
        assert "x/null" not in found
        assert "/usr/bin/null of other is a character device, and is left out" in planned.warnings

    def test_times_are_taken_where_asked_for(self, plan: Plan, other: Filesystem) -> None:
        found = self.take(plan, other, "src: /usr/bin/tool, dest: /x, mtime: source", newest=1500)
        assert found["x"].mtime == 1500

    def test_the_whole_of_it(self, plan: Plan, other: Filesystem) -> None:
        found = self.take(plan, other, "src: /, dest: /")
        assert found["etc/passwd"].mode == 0o644
        assert found["usr/share/deep/c.txt"].type is EntryType.FILE

    def test_it_says_where_each_path_is_from(self, plan: Plan, other: Filesystem) -> None:
        planned = plan("copy: [{from: store:other, src: /bin/tool, dest: /a/x}, ./file:/a/y]", donor=other)
        provenance = planned.layers[0].provenance
        assert {path: found.source for path, found in provenance.items()} == {
            "a/x": "other:/usr/bin/tool",
            "a/y": "file",
        }
        assert {found.position.line for found in provenance.values()} == {3}

    @pytest.mark.parametrize(
        ("copy", "message"),
        [
            ("src: /usr/bin/tol, dest: /x", "no file of other matches /usr/bin/tol; did you mean '/usr/bin/tool'?"),
            ("src: /broken, dest: /x", "/broken of other is a link to /nowhere, and nothing is there"),
            ('src: "/usr/share/*.*", dest: /x', "/usr/share/*.* matches 2 paths, and /x names one"),
            ('src: /usr/share, dest: /x/, exclude: ["a\\\\"]', "exclude: 'a\\\\' is no pattern"),
            ('src: "/usr/share/*.txt", dest: /x/, exclude: ["*"]', "everything that /usr/share/*.txt matches is excl"),
        ],
    )
    def test_mistakes(self, refuse: Callable[..., str], other: Filesystem, copy: str, message: str) -> None:
        assert message in refuse(f"copy: [{{from: store:other, {copy}}}]", donor=other)


class TestWarnings:
    @pytest.mark.parametrize(
        ("layer", "warning"),
        [
            (
                "copy: [{src: ./file, dest: /su, mode: '04755'}]",
                "/su has the mode 4755, and runs with the rights of its",
            ),
            ("copy: [{src: ./file, dest: /sg, mode: '02755'}]", "/sg has the mode 2755, and runs with those of its"),
            ("copy: [{src: ./file, dest: /w, mode: '0666'}]", "/w has the mode 0666, and may be changed by everybody"),
            ("directory: [{path: /w, mode: '0777'}]", "/w has the mode 0777, and may be changed by everybody"),
        ],
    )
    def test_of_modes_that_few_mean(self, plan: Plan, layer: str, warning: str) -> None:
        """LAYERS, item 14: "Sticky/setuid/setgid kept only if declared; warn on setuid in output"."""
        (found,) = plan(layer).warnings
        assert warning in found

    def test_none_of_what_is_usual(self, plan: Plan) -> None:
        base = index(folder("tmp", mode=0o1777), folder("shared", mode=0o777))
        planned = plan("directory: [{path: /t, mode: '01777'}], copy: [./file:/tmp/, ./file:/shared/x]", base=[base])
        assert planned.warnings == ()

    def test_many_of_one_kind_are_counted(self, plan: Plan, context: Path) -> None:
        (context / "many").mkdir()
        for number in range(12):
            (context / f"many/{number}").touch()
        warnings = plan("name: big, copy: [{src: ./many, dest: /m, mode: '0666'}]").warnings
        assert len(warnings) == 6
        assert warnings[-1].endswith("7 more paths of layer big, of which each may be changed by everybody")

    def test_of_content_that_is_stored_again_for_its_mode(self, plan: Plan) -> None:
        base = index(file("tool", bytes(5000)))
        planned = plan(
            "copy: [{from: store:other, src: /tool, dest: /tool, mode: '0755'}]", base=[base], donor=filesystem(base)
        )
        (warning,) = planned.warnings
        assert (
            "/tool differs from the layer below in its mode or owner alone, and all of its 5.0 kB are stored again"
            in warning
        )


def test_content_of_a_file_is_that_of_the_context(plan: Plan, context: Path) -> None:
    source = entries(plan("copy: [./file:/x]"))["x"].source
    assert isinstance(source, FileSource)
    assert source.path == str(context / "file")


def test_the_repr_of_a_plan_does_not_grow_with_its_files(plan: Plan, context: Path) -> None:
    """asyncio.run makes the repr of what it returns: of 100,000 files that took seconds."""
    (context / "many").mkdir()
    for number in range(200):
        (context / f"many/{number}").touch()
    (layer,) = plan("copy: [./many:/m]").layers
    assert len(repr(layer)) < 200
