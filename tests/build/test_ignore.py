"""`.dockerignore`: the Dockerfile reference, ".dockerignore files", and the facts of moby's own tests."""

import posixpath
import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from layerkit.build.ignore import IgnoreRules, parse_dockerignore


def ignored(path: str, *patterns: str) -> bool:
    return parse_dockerignore("\n".join(patterns)).is_ignored(path)


class TestLines:
    def test_nothing_ignores_nothing(self) -> None:
        assert not parse_dockerignore("").is_ignored("any/path/there")
        assert not IgnoreRules().is_ignored("any")

    def test_comments_begin_in_column_1(self) -> None:
        """ "If a line starts with # in column 1, then this line is considered as a comment and is ignored." """
        assert not ignored("#a", "#a")
        assert ignored("#a", " #a")
        assert ignored("#a", "\\#a")

    def test_blank_lines_and_space_around_patterns_mean_nothing(self) -> None:
        """ "A preprocessing step ... trims leading and trailing whitespace ... Lines that are blank are ignored." """
        rules = parse_dockerignore("\n   \n\t a \t\n\n  ! a/b  \n")
        assert rules.is_ignored("a")
        assert not rules.is_ignored("a/b")

    def test_lines_of_windows_and_a_byte_order_mark_are_read(self) -> None:
        rules = parse_dockerignore("\ufeff# comment\r\na\r\n*.md\r\n")
        assert rules.is_ignored("a")
        assert rules.is_ignored("b.md")
        assert not rules.is_ignored("comment")

    @pytest.mark.parametrize(
        ("line", "path"),
        [
            ("test1", "test1"),
            ("/test2", "test2"),
            ("//test2", "test2"),
            ("/a/file/here", "a/file/here"),
            ("a/", "a"),
            ("./a", "a"),
            ("a/./b//c", "a/b/c"),
            ("x/../a", "a"),
            ("/../a", "a"),
        ],
    )
    def test_a_pattern_is_cleaned(self, line: str, path: str) -> None:
        """ "... eliminates . and .. elements using Go's filepath.Clean"; "/foo/bar and foo/bar both exclude ..."."""
        assert ignored(path, line)
        assert not ignored(path, "*", "!" + line)
        assert not ignored("other", line)

    @pytest.mark.parametrize("line", ["../a", "..", "a/../../b", "/", "."])
    def test_what_is_not_in_the_context_ignores_nothing(self, line: str) -> None:
        assert not any(ignored(path, line) for path in ("a", "b", "a/b", ".", ""))

    @pytest.mark.parametrize(
        "line", ["!", "! ", "!/", "[", "a[", "[^", "[^bc", "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]"]
    )
    def test_an_invalid_pattern_is_an_error_that_names_its_line(self, line: str) -> None:
        with pytest.raises(ValueError, match=r"\.dockerignore, line 3: .* is no pattern: ") as caught:
            parse_dockerignore(f"# one\nb\n{line}\nc")
        assert repr(line.strip()) in str(caught.value)

    @pytest.mark.parametrize("line", ["a\\", "\\", "![z-a]", "[Local-Only]/", "[\\"])
    def test_other_invalid_patterns(self, line: str) -> None:
        with pytest.raises(ValueError, match="line 1: "):
            parse_dockerignore(line)


# (pattern, path, does it match itself, does it match a parent of it): patternmatcher_test.go, TestMatches.
MATCHES = [
    ("**", "file", True),
    ("**", "file/", True),
    ("**/", "file", True),
    ("**/", "file/", True),
    ("**", "/", True),
    ("**/", "/", True),
    ("**", "dir/file", True),
    ("**/", "dir/file", True),
    ("**", "dir/file/", True),
    ("**/", "dir/file/", True),
    ("**/**", "dir/file", True),
    ("**/**", "dir/file/", True),
    ("dir/**", "dir/file", True),
    ("dir/**", "dir/file/", True),
    ("dir/**", "dir/dir2/file", True),
    ("dir/**", "dir/dir2/file/", True),
    ("**/dir", "dir", True),
    ("**/dir", "dir/file", True),
    ("**/dir2/*", "dir/dir2/file", True),
    ("**/dir2/*", "dir/dir2/file/", True),
    ("**/dir2/**", "dir/dir2/dir3/file", True),
    ("**/dir2/**", "dir/dir2/dir3/file/", True),
    ("**file", "file", True),
    ("**file", "dir/file", True),
    ("**/file", "dir/file", True),
    ("**file", "dir/dir/file", True),
    ("**/file", "dir/dir/file", True),
    ("**/file*", "dir/dir/file", True),
    ("**/file*", "dir/dir/file.txt", True),
    ("**/file*txt", "dir/dir/file.txt", True),
    ("**/file*.txt", "dir/dir/file.txt", True),
    ("**/file*.txt*", "dir/dir/file.txt", True),
    ("**/**/*.txt", "dir/dir/file.txt", True),
    ("**/**/*.txt2", "dir/dir/file.txt", False),
    ("**/*.txt", "file.txt", True),
    ("**/**/*.txt", "file.txt", True),
    ("a**/*.txt", "a/file.txt", True),
    ("a**/*.txt", "a/dir/file.txt", True),
    ("a**/*.txt", "a/dir/dir/file.txt", True),
    ("a/*.txt", "a/dir/file.txt", False),
    ("a/*.txt", "a/file.txt", True),
    ("a/*.txt**", "a/file.txt", True),
    ("a[b-d]e", "ae", False),
    ("a[b-d]e", "ace", True),
    ("a[b-d]e", "aae", False),
    ("a[^b-d]e", "aze", True),
    (".*", ".foo", True),
    (".*", "foo", False),
    ("abc.def", "abcdef", False),
    ("abc.def", "abc.def", True),
    ("abc.def", "abcZdef", False),
    ("abc?def", "abcZdef", True),
    ("abc?def", "abcdef", False),
    ("**/foo/bar", "foo/bar", True),
    ("**/foo/bar", "dir/foo/bar", True),
    ("**/foo/bar", "dir/dir2/foo/bar", True),
    ("abc/**", "abc", False),
    ("abc/**", "abc/def", True),
    ("abc/**", "abc/def/ghi", True),
    ("**/.foo", ".foo", True),
    ("**/.foo", "bar.foo", False),
    ("a(b)c/def", "a(b)c/def", True),
    ("a(b)c/def", "a(b)c/xyz", False),
    ("a.|)$(}+{bc", "a.|)$(}+{bc", True),
    (
        "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
        "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
        True,
    ),
    ("dist/*.whl", "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl", True),
    ("a\\\\", "a\\", True),
    ("a\\*b", "a*b", True),
    ("a\\*b", "ab", False),
    # TestMatch, which are those of Go's filepath.Match.
    ("abc", "abc", True),
    ("*", "abc", True),
    ("*c", "abc", True),
    ("a*", "a", True),
    ("a*", "abc", True),
    ("a*", "ab/c", True),
    ("a*/b", "abc/b", True),
    ("a*/b", "a/c/b", False),
    ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
    ("a*b*c*d*e*/f", "axbxcxdxexxx/f", True),
    ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", False),
    ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", False),
    ("a*b?c*x", "abxbbxdbxebxczzx", True),
    ("a*b?c*x", "abxbbxdbxebxczzy", False),
    ("ab[c]", "abc", True),
    ("ab[b-d]", "abc", True),
    ("ab[e-g]", "abc", False),
    ("ab[^c]", "abc", False),
    ("ab[^b-d]", "abc", False),
    ("ab[^e-g]", "abc", True),
    ("a?b", "a☺b", True),
    ("a[^a]b", "a☺b", True),
    ("a???b", "a☺b", False),
    ("a[^a][^a][^a]b", "a☺b", False),
    ("[a-ζ]*", "\N{GREEK SMALL LETTER ALPHA}", True),
    ("*[a-ζ]", "A", False),
    ("a?b", "a/b", False),
    ("a*b", "a/b", False),
    ("[\\]a]", "]", True),
    ("[\\-]", "-", True),
    ("[x\\-]", "x", True),
    ("[x\\-]", "-", True),
    ("[x\\-]", "z", False),
    ("[\\-x]", "x", True),
    ("[\\-x]", "-", True),
    ("[\\-x]", "a", False),
    ("*x", "xxx", True),
    ("*.go", "fileutils.go", True),
    # Of the compiled forms of TestCompile: `**` and a plain rest is any end, `**` and another rest begins at a slash.
    ("**file", "dir/my_file", True),
    ("**file*", "dir/my_file", False),
    # Where its expressions give up what filepath.Match promises: a class holds its characters, no matter which.
    ("[*]", "*", True),
    ("[*]", "a", False),
    ("[?.]x", "?x", True),
    ("[[:]x", ":x", True),
    ("a\\d", "ad", True),
    ("a\\d", "a1", False),
    ("a^b*", "a^bc", True),
]


@pytest.mark.parametrize(("pattern", "path", "expected"), MATCHES)
def test_a_pattern_matches_what_mobys_matches(pattern: str, path: str, expected: bool) -> None:
    assert ignored(path, pattern) is expected


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        (["**", "!util/docker/web"], "util/docker/web/foo", False),
        (["**", "!util/docker/web", "util/docker/web/foo"], "util/docker/web/foo", True),
        (["**", "!dist/a.dev36+g08-py3.whl"], "dist/a.dev36+g08-py3.whl", False),
        (["**", "!dist/*.whl"], "dist/a.dev36+g08-py3.whl", False),
        (["!fileutils.go", "*.go"], "fileutils.go", True),
        (["*.go", "!fileutils.go"], "fileutils.go", False),
        (["docs", "!docs/README.md"], "docs/README.md", False),
        (["docs/", "!docs/README.md"], "docs/README.md", False),
        (["docs/*", "!docs/README.md"], "docs/README.md", False),
        (["docs", "!docs/README.md"], "docs/other", True),
        (["*", "!**/*.py"], "a/b/c.py", False),
        # moby/moby#41433, moby/moby#31630, moby/moby#30018, docker/cli#2919
        (["**/c", "!a/b/c/include.txt", ".git"], "a/b/c/exclude.txt", True),
        (["*", "!data", "data/file1"], "data/file1", True),
        (["*", "!data", "data/file1"], "data/file2", False),
        (["*", "!hi.txt", "!photos/*.jpeg", "!*/*.txt"], "recipes/cake.txt", False),
        # Of two parents' matches, too, the last decides.
        (["*", "!**/*.py", "tests"], "tests/a.py", True),
        (["\\!a"], "!a", True),
    ],
)
def test_the_last_match_decides(patterns: list[str], path: str, expected: bool) -> None:
    assert ignored(path, *patterns) is expected


class TestReference:
    """The examples of the Dockerfile reference."""

    def test_wildcards_stay_in_their_directory(self) -> None:
        rules = parse_dockerignore("# comment\n*/temp*\n*/*/temp*\ntemp?\n")
        for path in ("somedir/temporary.txt", "somedir/temp", "somedir/subdir/temporary.txt", "tempa", "tempb"):
            assert rules.is_ignored(path)
        for path in ("temporary.txt", "temp", "a/b/c/temp", "somedir/a-temp", "comment"):
            assert not rules.is_ignored(path)

    def test_two_stars_stand_for_any_number_of_directories(self) -> None:
        """ "**/*.go excludes all files that end with .go ..., including the root of the build context." """
        assert all(ignored(path, "**/*.go") for path in ("a.go", "a/b.go", "a/b/c.go"))
        assert not ignored("a/b.god", "**/*.go")

    @pytest.mark.parametrize(
        ("patterns", "secret"),
        [(["*.md", "!README*.md", "README-secret.md"], True), (["*.md", "README-secret.md", "!README*.md"], False)],
    )
    def test_the_placement_of_exceptions_matters(self, patterns: list[str], secret: bool) -> None:
        assert ignored("CHANGES.md", *patterns)
        assert not ignored("README.md", *patterns)
        assert ignored("README-secret.md", *patterns) is secret

    def test_everything_but(self) -> None:
        """ "Specify * as the first pattern, followed by one or more ! exception patterns." """
        rules = parse_dockerignore("*\n!src\n")
        assert not rules.is_ignored("src/main.py")
        assert rules.is_ignored("docs/index.md")
        assert not rules.is_ignored(".")


class TestPruning:
    @pytest.mark.parametrize(
        ("text", "directory", "expected"),
        [
            ("node_modules", "node_modules", False),
            ("**/node_modules", "a/node_modules", False),
            ("docs\n!docs/README.md", "docs", True),
            ("docs\n!docs/README.md", "docs/api", False),
            ("*\n!src/app/*.py", "src", True),
            ("*\n!src/app/*.py", "src/app", True),
            ("*\n!src/app/*.py", "src/app/x", False),
            ("*\n!src/app/*.py", "lib", False),
            ("*\n!src/*/x", "src/a", True),
            ("*\n!src/*/x", "src/a/b", False),
            ("*\n!**/*.py", "any/where", True),
            ("*\n!a[^b]c/d", "x", True),
            ("*\n!a\\/b", "a", True),
            ("!docs/README.md\ndocs", "docs", False),
            ("*\n!src", "src", True),
            ("a", "b", True),
            ("*", ".", True),
        ],
    )
    def test_a_directory_is_walked_only_where_something_in_it_may_be_wanted(
        self, text: str, directory: str, expected: bool
    ) -> None:
        assert parse_dockerignore(text).may_contain_exceptions(directory) is expected


NAMES = st.sampled_from(["a", "b", "ab", "a.b", "abc", "é", ".a", "a\nb"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
COMPONENTS = st.sampled_from(
    ["a", "b", "*", "**", "a*", "*b", "?", "a?", "[ab]", "[^a]", ".a", "**b", "a**", "a\\b", "é"]
)
LINES = st.tuples(st.sampled_from(["", "!", "/"]), st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join)).map(
    "".join
)


def above(path: str) -> Iterator[str]:
    names = path.split("/")
    return ("/".join(names[:count]) for count in range(1, len(names)))


@given(st.lists(LINES, max_size=6), PATHS)
@example(["*", "!**/*b", "a"], "a/b")
def test_it_decides_as_moby_does_line_by_line(lines: list[str], path: str) -> None:
    """MatchesOrParentMatches: each pattern in order, of the path itself and then of each parent."""
    matched = False
    for line in lines:
        alone = parse_dockerignore(line.removeprefix("!"))
        if alone.is_ignored(path) or any(alone.is_ignored(parent) for parent in above(path)):
            matched = not line.startswith("!")
    assert ignored(path, *lines) is matched


@given(st.lists(LINES, max_size=6), PATHS, PATHS)
def test_what_is_pruned_holds_nothing_that_is_wanted(lines: list[str], directory: str, below: str) -> None:
    rules = parse_dockerignore("\n".join(lines))
    if not rules.may_contain_exceptions(directory):
        assert rules.is_ignored(directory)
        assert rules.is_ignored(f"{directory}/{below}")


@given(st.text(alphabet="ab/.*?[]^-\\!# \n\ufeff{}()+|$é", max_size=30), PATHS)
def test_any_text_gives_rules_or_a_value_error(text: str, path: str) -> None:
    try:
        rules = parse_dockerignore(text)
    except ValueError as error:
        assert re.match(r"\.dockerignore, line \d+: ", str(error))  # noqa: PT017
    else:
        assert rules.is_ignored(path) in {True, False}
        rules.may_contain_exceptions(posixpath.dirname(path))


def test_many_stars_take_no_exponential_time() -> None:
    assert not ignored("/".join(["a"] * 60), "**/" * 30 + "b")
