"""SPEC, "Copy" and rule 5: what a copy takes from the context, and under which attributes."""

import json
import os
import re
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from layerkit.build.accounts import Accounts
from layerkit.build.scan import Context
from layerkit.build.taken import Marks, Taken
from layerkit.document.problem import DocumentError
from layerkit.layer.entry import Entry, EntryType
from layerkit.spec.model import Copy, Spec

Take = Callable[..., dict[str, Entry]]
Refuse = Callable[..., str]


@pytest.fixture
def scanned() -> list[str]:
    """The warnings of what was taken in this test."""
    return []


def marks_of(copy: Copy) -> Marks:
    """The attributes of a copy whose owner is a number."""
    attributes = copy.attributes
    uid, gid = Accounts().resolve(attributes)
    return Marks(uid=uid, gid=gid, mode=attributes.mode, dir_mode=attributes.dir_mode)


def entries_of(context: Context, copy: Copy, marks: Marks) -> list[Entry]:
    taken = context.copy(copy, marks, context.look(copy))
    return [one.entry for some in taken for one in ((some,) if isinstance(some, Taken) else some.apart())]


@pytest.fixture
def take(load: Callable[..., Spec], scanned: list[str]) -> Take:
    """The entries of one copy, by their paths in the image."""

    def _take(src: str, dest: str, **keys: object) -> dict[str, Entry]:
        # JSON is YAML.
        spec = load(f"from: scratch\nlayers:\n  - copy:\n    - {json.dumps({'src': src, 'dest': dest, **keys})}\n")
        copy = spec.layers[0].copies[0]
        assert isinstance(copy, Copy)
        context = Context(spec)
        entries = entries_of(context, copy, marks_of(copy))
        scanned[:] = context.warnings
        found = {entry.path: entry for entry in entries}
        assert len(found) == len(entries)
        return found

    return _take


@pytest.fixture
def refuse(take: Take) -> Refuse:
    """The one problem of a copy, with its position and its hint."""

    def _refuse(src: str, dest: str = "/x/", **keys: object) -> str:
        with pytest.raises(DocumentError) as caught:
            take(src, dest, **keys)
        (problem,) = caught.value.problems
        return f"{problem.line}:{problem.column}: {problem.message}; {problem.hint}"

    return _refuse


def fill(folder: Path, *names: str) -> None:
    """Files whose content is their name; what ends in a slash is an empty folder."""
    for name in names:
        path = folder / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)


def content(entry: Entry) -> str:
    assert entry.source is not None
    return b"".join(entry.source.pieces(2**20)).decode()


class TestDestinations:
    """ "Destinations absolute; a trailing `/` means "into this directory"; a directory source copies its contents." """

    def test_a_file_becomes_the_destination(self, take: Take, context: Path) -> None:
        fill(context, "a/file")
        found = take("a/file", "/srv/name")
        assert list(found) == ["srv/name"]
        assert content(found["srv/name"]) == "a/file"

    @pytest.mark.parametrize(("dest", "path"), [("/srv/", "srv/file"), ("/", "file"), ("//srv//./", "srv/file")])
    def test_a_slash_at_the_end_means_into(self, take: Take, context: Path, dest: str, path: str) -> None:
        fill(context, "a/file")
        assert content(take("./a/file", dest)[path]) == "a/file"

    @pytest.mark.parametrize("dest", ["/srv/app", "/srv/app/"])
    def test_a_folder_copies_its_contents(self, take: Take, context: Path, dest: str) -> None:
        fill(context, "src/file", "src/.hidden", "src/sub/deep/file", "src/empty/", "other")
        assert {path: entry.type for path, entry in take("./src", dest).items()} == {
            "srv/app": EntryType.DIRECTORY,
            "srv/app/file": EntryType.FILE,
            "srv/app/.hidden": EntryType.FILE,
            "srv/app/sub": EntryType.DIRECTORY,
            "srv/app/sub/deep": EntryType.DIRECTORY,
            "srv/app/sub/deep/file": EntryType.FILE,
            "srv/app/empty": EntryType.DIRECTORY,
        }

    def test_a_folder_copied_to_the_root_sets_nothing_of_the_root(self, take: Take, context: Path) -> None:
        fill(context, "src/file")
        assert list(take("src", "/")) == ["file"]

    def test_the_context_itself_is_a_source(self, take: Take, context: Path) -> None:
        fill(context, "file")
        for src in (".", "./"):
            assert set(take(src, "/x")) == {"x", "x/file", "x/layerkit.yaml"}

    def test_an_empty_folder_is_copied(self, take: Take, context: Path) -> None:
        fill(context, "empty/")
        assert [entry.type for entry in take("empty", "/x").values()] == [EntryType.DIRECTORY]

    @pytest.mark.parametrize("src", ["a//b", "./a/./b", "a/b/", "a/b/."])
    def test_a_source_has_many_spellings(self, take: Take, context: Path, src: str) -> None:
        fill(context, "a/b/file")
        assert set(take(src, "/x")) == {"x", "x/file"}


class TestGlobs:
    """ "A glob keeps the paths below its fixed part; several matches need a destination with a trailing `/`." """

    @pytest.fixture(autouse=True)
    def _files(self, context: Path) -> None:
        fill(context, "src/a.txt", "src/b.bin", "src/.h.txt", "src/one/c.txt", "src/one/.git/d.txt", "src/two/x/e.txt")

    @pytest.mark.parametrize(
        ("src", "files"),
        [
            ("src/*.txt", {"a.txt"}),
            ("src/?.bin", {"b.bin"}),
            ("src/[ab].*", {"a.txt", "b.bin"}),
            ("src/[!a].*", {"b.bin"}),
            ("src/.*.txt", {".h.txt"}),
            ("src/**/*.txt", {"a.txt", "one/c.txt", "two/x/e.txt"}),
            ("src/**/**/*.txt", {"a.txt", "one/c.txt", "two/x/e.txt"}),
            ("src/*/*.txt", {"one/c.txt"}),
            ("src/**/x/*", {"two/x/e.txt"}),
            ("src/**/x", {"two/x/e.txt"}),
            ("*/*.txt", {"src/a.txt"}),
            ("**/e.txt", {"src/two/x/e.txt"}),
            ("./src//t*/./x/e.txt", {"two/x/e.txt"}),
            # A folder that matches is copied as any folder is, with all that it has.
            ("src/o*", {"one/c.txt", "one/.git/d.txt"}),
            ("src/**", {"a.txt", "b.bin", ".h.txt", "one/c.txt", "one/.git/d.txt", "two/x/e.txt"}),
        ],
    )
    def test_paths_below_the_fixed_part_are_kept(self, take: Take, src: str, files: set[str]) -> None:
        found = take(src, "/d/")
        assert {path for path, entry in found.items() if entry.type is EntryType.FILE} == {f"d/{f}" for f in files}

    def test_several_matches_need_a_slash(self, refuse: Refuse) -> None:
        assert (
            refuse("src/*.*", "/d")
            == '4:15: src/*.* matches 2 paths, and /d names one; end the destination with a slash: "/d/"'
        )

    def test_two_wildcards_for_folders_count_no_match_twice(self, take: Take) -> None:
        assert list(take("src/**/**/e.txt", "/d")) == ["d"]

    def test_one_match_may_become_the_destination(self, take: Take) -> None:
        assert content(take("src/*.bin", "/srv/program")["srv/program"]) == "src/b.bin"

    def test_a_name_with_wildcards_in_it_is_found_by_a_class(self, take: Take, context: Path) -> None:
        fill(context, "pages/[id].js", "pages/i")
        assert set(take("pages/[[]id].js", "/x/")) == {"x", "x/[id].js"}

    def test_folders_that_are_links_are_not_searched(self, take: Take, context: Path) -> None:
        (context / "src/loop").symlink_to(".")
        assert set(take("src/**/c.txt", "/d/")) == {"d", "d/one", "d/one/c.txt"}


class TestMissing:
    """ "A source that matches nothing is an error." """

    def test_the_position_is_that_of_the_source_and_a_near_name_is_told(self, refuse: Refuse, context: Path) -> None:
        fill(context, "src/file.txt")
        assert refuse("src/fil.txt") == "4:15: no file matches src/fil.txt; did you mean src/file.txt?"

    @pytest.mark.parametrize("src", ["nothing", "no/thing", "src/*.md", "**/*.md", "nothing/**", "file/**", "file/x"])
    def test_nothing_matches(self, refuse: Refuse, context: Path, src: str) -> None:
        fill(context, "src/", "file")
        assert f"no file matches {src}" in refuse(src)

    @pytest.mark.parametrize("src", ["../file", "a/../../file", "/etc/passwd", "a/.."])
    def test_no_source_is_outside(self, refuse: Refuse, context: Path, src: str) -> None:
        """ "Sources never leave the context." """
        fill(context, "a/", "../file")
        assert re.search("leaves the folder|is absolute", refuse(src))


class TestAttributes:
    """ "Default modes 0644, 0755 where the source is executable, folders 0755, owner 0:0." """

    @pytest.mark.parametrize(
        ("source", "mode"),
        [
            (0o600, 0o644),
            (0o666, 0o644),
            (0o444, 0o644),
            (0o700, 0o755),
            (0o654, 0o755),
            (0o4711, 0o755),
            (0o001, 0o755),
        ],
    )
    def test_of_the_mode_the_execute_bit_alone_counts(self, take: Take, context: Path, source: int, mode: int) -> None:
        fill(context, "src/file")
        (context / "src/file").chmod(source)
        assert take("src/file", "/x")["x"].mode == mode
        assert take("src", "/x")["x/file"].mode == mode

    def test_the_umask_and_the_modes_of_folders_change_nothing(self, take: Take, context: Path) -> None:
        before = os.umask(0o077)
        try:
            fill(context, "src/sub/file")
            (context / "src").chmod(0o1777)
            found = take("src", "/x")
        finally:
            os.umask(before)
        assert {path: entry.mode for path, entry in found.items()} == {"x": 0o755, "x/sub": 0o755, "x/sub/file": 0o644}

    def test_mode_is_for_files_and_dir_mode_for_folders(self, take: Take, context: Path) -> None:
        fill(context, "src/sub/file", "src/run")
        (context / "src/run").chmod(0o755)
        found = take("src", "/x", mode="0440", dir_mode="0750")
        assert {path: entry.mode for path, entry in found.items()} == {
            "x": 0o750,
            "x/sub": 0o750,
            "x/sub/file": 0o440,
            "x/run": 0o440,
        }

    @pytest.mark.parametrize(
        ("src", "dest", "owned"),
        [
            ("src/sub/file", "/srv/app/", {"srv/app", "srv/app/file"}),
            ("src/sub/file", "/srv/app/name", {"srv/app/name"}),
            ("src", "/srv/app", {"srv/app", "srv/app/sub", "srv/app/sub/file"}),
            ("src/**/file", "/srv/app/", {"srv/app", "srv/app/sub", "srv/app/sub/file"}),
            # A folder that a glob found, with the folders in between.
            ("*/sub", "/srv/app/", {"srv/app", "srv/app/src", "srv/app/src/sub", "srv/app/src/sub/file"}),
            ("src", "/", {"sub", "sub/file"}),
        ],
    )
    def test_owner_covers_the_destination_and_the_folders_in_between_but_not_its_parents(
        self, take: Take, context: Path, src: str, dest: str, owned: set[str]
    ) -> None:
        fill(context, "src/sub/file")
        found = take(src, dest, owner="10:20", dir_mode="0700")
        assert set(found) == owned
        assert {(entry.uid, entry.gid) for entry in found.values()} == {(10, 20)}
        assert {entry.mode for entry in found.values() if entry.type is EntryType.DIRECTORY} <= {0o700}

    def test_owner_is_of_links_too(self, take: Take, context: Path) -> None:
        fill(context, "src/")
        (context / "src/link").symlink_to("x")
        assert take("src", "/x", owner="5")["x/link"].uid == 5

    def test_the_time_of_the_source_is_not_taken(self, take: Take, context: Path) -> None:
        fill(context, "src/file")
        assert {entry.mtime for entry in take("src", "/x").values()} == {0}


class TestLinks:
    """ "Symlinks resolved inside it": a source that is a link is followed, a link in a folder is taken as a link."""

    @pytest.mark.parametrize("target", ["file", "../elsewhere/x", "/etc/passwd", "/nonexistent", "loop", "."])
    def test_links_in_a_folder_are_taken_verbatim(self, take: Take, context: Path, target: str) -> None:
        fill(context, "src/file")
        (context / "src/loop").symlink_to(target)
        found = take("src", "/srv/x")
        assert (found["srv/x/loop"].type, found["srv/x/loop"].link) == (EntryType.SYMLINK, target)
        assert set(found) == {"srv/x", "srv/x/file", "srv/x/loop"}

    def test_a_link_that_climbs_above_the_root_is_refused(self, refuse: Refuse, context: Path) -> None:
        fill(context, "src/")
        (context / "src/link").symlink_to("../../../x")
        assert refuse("src", "/x").startswith("4:15: 'x/link' cannot be in a layer")

    def test_a_source_that_is_a_link_is_followed(self, take: Take, context: Path) -> None:
        fill(context, "real/file")
        (context / "file").symlink_to("real/file")
        (context / "folder").symlink_to("real")
        (context / "absolute").symlink_to(context / "real/file")
        (context / "chain").symlink_to("folder/file")
        for src in ("file", "absolute", "chain", "folder/file"):
            assert content(take(src, "/x/")[f"x/{Path(src).name}"]) == "real/file"
        assert set(take("folder", "/x")) == {"x", "x/file"}
        assert set(take("fold*", "/x/")) == {"x", "x/folder", "x/folder/file"}
        assert set(take("folder/*", "/x/")) == {"x", "x/file"}

    def test_a_context_that_is_a_link_is_followed(self, load: Callable[..., Spec], context: Path) -> None:
        fill(context, "src/file")
        (context.parent / "link").symlink_to(context)
        (context / "here").symlink_to(context.parent / "link/src")
        spec = load("from: scratch\nlayers: [{copy: [./here:/x]}]\n")
        copy = spec.layers[0].copies[0]
        assert isinstance(copy, Copy)
        assert {entry.path for entry in entries_of(Context(spec), copy, Marks())} == {"x", "x/file"}

    @pytest.mark.parametrize("src", ["file", "folder", "folder/secret", "through/folder/secret", "f*", "folder/*"])
    def test_a_source_that_leads_out_of_the_context_is_refused(self, refuse: Refuse, context: Path, src: str) -> None:
        """S7: "resolve symlinks inside the context only; error on escape"."""
        fill(context, "../outside/secret", "real/")
        (context / "file").symlink_to("../outside/secret")
        (context / "folder").symlink_to(context.parent / "outside")
        (context / "through").symlink_to(".")
        message = refuse(src)
        assert "is a link out of the folder of the spec" in message
        assert message.startswith("4:15: ")

    def test_a_folder_beside_the_context_of_a_longer_name_is_outside(self, refuse: Refuse, context: Path) -> None:
        fill(context, "../context-2/file")
        (context / "link").symlink_to("../context-2")
        assert "is a link out of the folder of the spec" in refuse("link")

    @pytest.mark.parametrize("src", ["link", "l*", "loop"])
    def test_a_source_that_leads_nowhere_is_told(self, refuse: Refuse, context: Path, src: str) -> None:
        (context / "link").symlink_to("gone")
        (context / "loop").symlink_to("loop")
        message = refuse(src)
        assert "is a link to" in message
        assert "nothing is there" in message


class TestSpecialFiles:
    """LAYERS, item 18: "Sockets: skip with a warning. FIFOs allowed. Device nodes: only if declared, warn"."""

    def test_sockets_and_devices_are_left_out_with_a_warning(
        self, take: Take, context: Path, scanned: list[str]
    ) -> None:
        fill(context, "src/file")
        here = Path.cwd()
        os.chdir(context / "src")  # A socket's path has 107 bytes at most.
        try:
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind("socket")
        finally:
            os.chdir(here)
        # The one device that Linux lets everybody make: that of a whiteout.
        os.mknod(context / "src/device", stat.S_IFCHR | 0o666, os.makedev(0, 0))
        assert set(take("src", "/x")) == {"x", "x/file"}
        assert sorted(scanned) == [
            f"{context}/src/device is a device, and is left out",
            f"{context}/src/socket is a socket, and is left out",
        ]

    def test_pipes_are_copied_and_nobody_waits_for_their_other_end(
        self, take: Take, context: Path, scanned: list[str]
    ) -> None:
        fill(context, "src/")
        os.mkfifo(context / "src/pipe", 0o600)
        found = take("src", "/x")["x/pipe"]
        assert (found.type, found.mode, found.source) == (EntryType.FIFO, 0o644, None)
        assert take("src/pipe", "/pipe", mode="0622")["pipe"].mode == 0o622
        assert scanned == []


class TestDockerignore:
    """ "`.dockerignore` (docker semantics) and `exclude:` (gitignore semantics) apply." """

    def test_what_it_says_is_not_copied(self, take: Take, context: Path) -> None:
        fill(context, ".dockerignore", "src/a.md", "src/b.txt", "src/node_modules/x/y", "a.md")
        (context / ".dockerignore").write_text("**/node_modules\nsrc/*.md\n.dockerignore\nlayerkit.yaml\n")
        assert set(take(".", "/x")) == {"x", "x/src", "x/src/b.txt", "x/a.md"}
        assert set(take("./src//", "/x")) == {"x", "x/b.txt"}
        assert set(take("src/*", "/x/")) == {"x", "x/b.txt"}

    def test_exceptions_within_ignored_folders_are_copied_with_their_folders(self, take: Take, context: Path) -> None:
        fill(context, "docs/a.md", "docs/deep/keep.md", "docs/deep/other.md", "docs/empty/", "src/file")
        (context / ".dockerignore").write_text("docs\n!docs/deep/keep.md\n")
        for src, paths in (
            (
                ".",
                {
                    "x",
                    "x/.dockerignore",
                    "x/layerkit.yaml",
                    "x/src",
                    "x/src/file",
                    "x/docs",
                    "x/docs/deep",
                    "x/docs/deep/keep.md",
                },
            ),
            ("docs", {"x", "x/deep", "x/deep/keep.md"}),
            ("docs/deep", {"x", "x/keep.md"}),
            ("docs/*", {"x", "x/deep", "x/deep/keep.md"}),
        ):
            found = take(src, "/x/", owner="9", dir_mode="0711")
            assert set(found) == paths
            assert {entry.uid for entry in found.values()} == {9}
            assert {entry.mode for entry in found.values() if entry.type is EntryType.DIRECTORY} == {0o711}

    @pytest.mark.parametrize("rules", ["secret", "*", "sec*\n!secrets", "**\n!other/**"])
    def test_a_source_that_is_ignored_altogether_is_an_error(self, refuse: Refuse, context: Path, rules: str) -> None:
        fill(context, "secret/file")
        (context / ".dockerignore").write_text(rules)
        assert ".dockerignore keeps secret out" in refuse("secret")
        assert ".dockerignore keeps secret/file out" in refuse("secret/file")
        assert ".dockerignore keeps secret//file out" in refuse("secret//file")

    def test_an_ignored_folder_whose_exceptions_are_not_there_is_an_error(self, refuse: Refuse, context: Path) -> None:
        fill(context, "docs/a.md")
        (context / ".dockerignore").write_text("docs\n!docs/b.md\n")
        assert "everything that docs matches is excluded" in refuse("docs")

    def test_what_is_ignored_is_not_to_be_had_through_a_link(self, take: Take, refuse: Refuse, context: Path) -> None:
        """Docker's builder, to which ignored files are never sent, cannot have them by another name either."""
        fill(context, "secret/key", "open/file", "open/key")
        (context / ".dockerignore").write_text("secret\nopen/key\n")
        (context / "link").symlink_to("secret")
        (context / "file").symlink_to("secret/key")
        (context / "folder").symlink_to("open")
        for src in ("link", "file", "link/key", "folder/key"):
            assert f".dockerignore keeps {src} out" in refuse(src)
        assert set(take("folder", "/x")) == {"x", "x/file"}

    def test_an_ignored_link_is_not_looked_at(self, take: Take, context: Path) -> None:
        fill(context, "src/file")
        (context / "src/out").symlink_to("/etc")
        (context / "src/broken").symlink_to("nothing")
        (context / ".dockerignore").write_text("src/out\nsrc/broken\n")
        assert set(take("src/*", "/x/")) == {"x", "x/file"}

    def test_a_wrong_pattern_is_told_with_its_line(self, refuse: Refuse, context: Path) -> None:
        fill(context, "file")
        (context / ".dockerignore").write_text("# comment\na\n[b\n")
        message = refuse("file")
        assert message.startswith("2:1: ")
        assert ".dockerignore, line 3: '[b' is no pattern" in message

    def test_ignored_folders_are_not_even_opened(self, take: Take, context: Path) -> None:
        fill(context, "src/file", "src/node_modules/")
        (context / ".dockerignore").write_text("**/node_modules\n")
        deep = context / "src/node_modules"
        # A chain so deep that its path is longer than the kernel takes: whoever walks it fails.
        handle = os.open(deep, os.O_RDONLY)
        for _ in range(20):
            os.mkdir("d" * 250, dir_fd=handle)
            below = os.open("d" * 250, os.O_RDONLY, dir_fd=handle)
            os.close(handle)
            handle = below
        os.close(handle)
        assert set(take("src", "/x")) == {"x", "x/file"}


class TestExclude:
    """ "`exclude:` (gitignore semantics, via a library)", relative to the source. What is expected is what git does."""

    @pytest.fixture(autouse=True)
    def _files(self, context: Path) -> None:
        fill(
            context, "s/a.js", "s/a.map", "s/sub/b.js", "s/sub/b.map", "s/sub/deep/c.map", "s/build/out", "s/sub/build"
        )

    @pytest.mark.parametrize(
        ("patterns", "left"),
        [
            (["**/*.map"], {"a.js", "sub/b.js", "build/out", "sub/build"}),
            (["*.map"], {"a.js", "sub/b.js", "build/out", "sub/build"}),
            (["/*.map"], {"a.js", "sub/b.js", "sub/b.map", "sub/deep/c.map", "build/out", "sub/build"}),
            (["*.map", "!b.map"], {"a.js", "sub/b.js", "sub/b.map", "build/out", "sub/build"}),
            (["!b.map", "*.map"], {"a.js", "sub/b.js", "build/out", "sub/build"}),
            (["build/"], {"a.js", "a.map", "sub/b.js", "sub/b.map", "sub/deep/c.map", "sub/build"}),
            (["build"], {"a.js", "a.map", "sub/b.js", "sub/b.map", "sub/deep/c.map"}),
            (["sub/b.*"], {"a.js", "a.map", "sub/deep/c.map", "build/out", "sub/build"}),
            # "It is not possible to re-include a file if a parent directory of that file is excluded."
            (["sub", "!sub/b.js"], {"a.js", "a.map", "build/out"}),
            (["sub/*", "!sub/b.js"], {"a.js", "a.map", "build/out", "sub/b.js"}),
            (["sub/**", "!sub/b.js"], {"a.js", "a.map", "build/out", "sub/b.js"}),
            (["sub/**/c.map"], {"a.js", "a.map", "sub/b.js", "sub/b.map", "build/out", "sub/build"}),
            (["**/deep"], {"a.js", "a.map", "sub/b.js", "sub/b.map", "build/out", "sub/build"}),
            (["*", "!*/", "!*.js"], {"a.js", "sub/b.js"}),
            (["/*", "!/sub", "/sub/*", "!/sub/deep"], {"sub/deep/c.map"}),
            (["# comment", "", "*.map  ", "?.js"], {"build/out", "sub/build"}),
            ([r"\!x", r"\#y", "[ab].map"], {"a.js", "sub/b.js", "sub/deep/c.map", "build/out", "sub/build"}),
        ],
    )
    def test_patterns_mean_what_they_mean_to_git(self, take: Take, patterns: list[str], left: set[str]) -> None:
        found = take("s", "/x", exclude=patterns)
        assert {path[2:] for path, entry in found.items() if entry.type is EntryType.FILE} == left

    @pytest.mark.parametrize(
        ("src", "patterns", "left"),
        [
            ("s/*", ["*.map"], {"a.js", "sub/b.js", "build/out", "sub/build"}),
            ("s/**/*.map", ["/sub/*.map"], {"a.map", "sub/deep/c.map"}),
            ("s/**/*.map", ["sub/"], {"a.map"}),
            ("s/su*", ["/sub/b.map", "build"], {"sub/b.js", "sub/deep/c.map"}),
            ("s/a.*", ["a.map"], {"a.js"}),
        ],
    )
    def test_of_a_glob_they_are_relative_to_its_fixed_part(
        self, take: Take, src: str, patterns: list[str], left: set[str]
    ) -> None:
        found = take(src, "/x/", exclude=patterns)
        assert {path[2:] for path, entry in found.items() if entry.type is EntryType.FILE} == left

    @pytest.mark.parametrize(("src", "patterns"), [("s/a.map", ["*.map"]), ("s/*.map", ["a.*"]), ("s/**/*.map", ["*"])])
    def test_all_excluded_is_an_error(self, refuse: Refuse, src: str, patterns: list[str]) -> None:
        assert f"everything that {src} matches is excluded" in refuse(src, exclude=patterns)

    def test_an_unmatched_pattern_is_a_warning(self, take: Take, scanned: list[str], context: Path) -> None:
        """Rule 5: "an unmatched `exclude:` a warning, a `.dockerignore` line neither"."""
        (context / ".dockerignore").write_text("nothing\n")
        take("s", "/x", exclude=["*.map", "*.mpa", "/a.map", "!b.js"])
        assert [warning.partition("layerkit.yaml:")[2] for warning in scanned] == [
            "4:15: exclude: '*.mpa' matches nothing"
        ]

    @pytest.mark.parametrize("pattern", ["a\\", "a\\\\\\"])
    def test_what_is_no_pattern_is_told(self, refuse: Refuse, pattern: str) -> None:
        message = refuse("s", exclude=[pattern])
        assert message.startswith("4:15: exclude: ")
        assert "is no pattern" in message


class TestNames:
    @pytest.mark.parametrize("name", [b"caf\xe9", b".wh.file", b".wh..wh..opq"])
    def test_a_name_that_no_layer_can_have_is_a_problem_of_the_copy(
        self, refuse: Refuse, context: Path, name: bytes
    ) -> None:
        """LAYERS, items 6 and 25: names are UTF-8, and none begins with `.wh.`."""
        fill(context, "src/file")
        with open(os.path.join(os.fsencode(context), b"src", name), "w"):  # noqa: PTH118, PTH123 - bytes are no Path
            pass
        message = refuse("src", "/x")
        assert message.startswith("4:15: ")
        assert "cannot be in a layer" in message
        assert "rename it" in message

    def test_an_excluded_name_does_not_matter(self, take: Take, context: Path) -> None:
        fill(context, "src/file", "src/.wh.file")
        assert set(take("src", "/x", exclude=[".wh.*"])) == {"x", "x/file"}

    @pytest.mark.parametrize("name", ["a b", "é", "日本", "new\nline", "back\\slash", "-", "*", "#", "!", " "])
    def test_other_names_are_copied_as_they_are(self, take: Take, context: Path, name: str) -> None:
        fill(context, f"src/{name}")
        assert set(take("src", "/x", exclude=["other"])) == {"x", f"x/{name}"}


def test_twenty_thousand_files_are_found(take: Take, context: Path) -> None:
    for folder in range(100):
        (context / f"src/{folder}").mkdir(parents=True)
        for number in range(200):
            (context / f"src/{folder}/{number}").touch()
    (context / ".dockerignore").write_text("**/7\n!src/7/7\n")
    found = take("src", "/x", exclude=["/*/19?", "!/3/"])
    files = {path for path, entry in found.items() if entry.type is EntryType.FILE}
    assert len(found) - len(files) == 101
    assert files == {
        f"x/{folder}/{number}" for folder in range(100) for number in range(190) if 7 not in {folder, number}
    } | {"x/7/7"}
