"""The lock file: what is written is read again as it was, and what is no lock is refused by where it is wrong."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerkit.document.problem import DocumentError
from layerkit.oci.digest import Digest
from layerkit.oci.platform import parse_platform
from layerkit.packages.lock import (
    NO_LOCK,
    AptLock,
    LayerKey,
    Lock,
    LockedDeb,
    LockedURL,
    LockedWheel,
    PythonLock,
    digest_request,
    format_lock,
    load_lock,
    lock_path,
    parse_lock,
)

A, B = Digest.of(b"a"), Digest.of(b"b")
KEY = LayerKey(image="web", layer="os", platform=parse_platform("linux/amd64"))
DEB = LockedDeb(
    name="libc6",
    version="1:2.41-12",
    architecture="amd64",
    path="pool/main/g/glibc/libc6_2.41-12_amd64.deb",
    size=2850280,
    sha256=A,
    reason="bash",
)
WHEEL = LockedWheel(
    name="aiohttp", version="3.14.0", file="aiohttp-3.14.0-cp313-cp313-manylinux2014_x86_64.whl", size=1, sha256=B
)
LOCK = Lock(
    bases={"docker.io/library/debian:trixie": A},
    urls={"https://example.com/a.bin": LockedURL(sha256=B, size=3)},
    apt={KEY: AptLock(request=A, suites=("trixie", "trixie-updates"), snapshot="20261101T000000Z", packages=(DEB,))},
    python={KEY: PythonLock(request=B, packages=(WHEEL,))},
)
TEXT = f"""\
# Made by `layerkit lock`, to be kept beside the spec. `layerkit lock --upgrade` brings what is newer.
version = 1

[bases]
"docker.io/library/debian:trixie" = "{A}"

[urls]
"https://example.com/a.bin" = {{ sha256 = "{B.encoded}", size = 3 }}

[[apt]]
image = "web"
layer = "os"
platform = "linux/amd64"
request = "{A}"
suites = ["trixie", "trixie-updates"]
snapshot = "20261101T000000Z"
package = [
  {{ name = "libc6", version = "1:2.41-12", architecture = "amd64", \
path = "pool/main/g/glibc/libc6_2.41-12_amd64.deb", size = 2850280, sha256 = "{A.encoded}", reason = "bash" }},
]

[[python]]
image = "web"
layer = "os"
platform = "linux/amd64"
request = "{B}"
package = [
  {{ name = "aiohttp", version = "3.14.0", file = "aiohttp-3.14.0-cp313-cp313-manylinux2014_x86_64.whl", \
size = 1, sha256 = "{B.encoded}" }},
]
"""

_digests = st.binary(max_size=4).map(Digest.of)
_texts = st.text(min_size=1, max_size=20)
_names = st.from_regex(r"[a-z0-9][a-z0-9+.-]{0,10}", fullmatch=True)
_keys = st.builds(
    LayerKey,
    image=_texts,
    layer=_texts,
    platform=st.sampled_from(["linux/amd64", "linux/arm64", "linux/arm/v7"]).map(parse_platform),
)
_debs = st.builds(
    LockedDeb,
    name=_names,
    version=st.from_regex(r"([0-9]:)?[0-9][a-z0-9.+~-]{0,8}", fullmatch=True),
    architecture=st.sampled_from(["all", "amd64"]),
    path=st.lists(_names, min_size=1, max_size=4).map("/".join),
    size=st.integers(0, 2**53),
    sha256=_digests,
    reason=st.text(max_size=20),
)
_wheels = st.builds(
    LockedWheel,
    name=_names,
    version=st.from_regex(r"[0-9][a-z0-9.+!]{0,8}", fullmatch=True),
    file=_names,
    size=st.integers(0, 2**53),
    sha256=_digests,
    reason=st.text(max_size=20),
)
_locks = st.builds(
    Lock,
    bases=st.dictionaries(_texts, _digests, max_size=3),
    urls=st.dictionaries(_texts, st.builds(LockedURL, sha256=_digests, size=st.integers(0, 2**53)), max_size=3),
    apt=st.dictionaries(
        _keys,
        st.builds(
            AptLock,
            request=_digests,
            suites=st.lists(_texts, max_size=3).map(tuple),
            snapshot=st.sampled_from(["", "20261101T000000Z"]),
            packages=st.lists(_debs, max_size=4, unique_by=lambda deb: (deb.name, deb.architecture)).map(tuple),
        ),
        max_size=3,
    ),
    python=st.dictionaries(
        _keys,
        st.builds(
            PythonLock,
            request=_digests,
            packages=st.lists(_wheels, max_size=4, unique_by=lambda wheel: wheel.name).map(tuple),
        ),
        max_size=3,
    ),
)


@given(_locks)
def test_a_lock_is_read_as_it_was_written(lock: Lock) -> None:
    text = format_lock(lock)
    assert parse_lock(text, "layerkit.lock") == lock
    assert parse_lock(text.replace("\n", "\r\n"), "layerkit.lock") == lock
    assert format_lock(parse_lock(text, "layerkit.lock")) == text


def test_the_form_is_one_that_people_read() -> None:
    assert format_lock(LOCK) == TEXT
    assert parse_lock(TEXT, "layerkit.lock") == LOCK


def test_the_order_in_which_things_were_found_does_not_matter() -> None:
    other = LockedDeb(name="bash", version="5", architecture="amd64", path="pool/b.deb", size=1, sha256=B)
    first, second = (AptLock(request=A, packages=packages) for packages in ((DEB, other), (other, DEB)))
    assert first == second
    arm = LayerKey(image="web", layer="os", platform=parse_platform("linux/arm64"))
    assert format_lock(Lock(apt={KEY: first, arm: second})) == format_lock(Lock(apt={arm: first, KEY: second}))


def test_no_text_of_others_leaves_its_line_or_reaches_a_terminal() -> None:
    reason = 'bash"\n[bases]\x1b[31m\u202e\\'
    lock = Lock(apt={KEY: AptLock(request=A, packages=(msgspec.structs.replace(DEB, reason=reason),))})
    text = format_lock(lock)
    assert text.isprintable() or set(filter(lambda c: not c.isprintable(), text)) == {"\n"}
    assert parse_lock(text, "layerkit.lock") == lock


def test_the_lock_of_a_spec_stands_beside_it() -> None:
    assert lock_path(Path("a/layerkit.yaml")) == Path("a/layerkit.lock")
    assert lock_path(Path("images.yml")) == Path("images.lock")


def test_no_file_is_an_empty_lock(tmp_path: Path) -> None:
    assert load_lock(tmp_path / "layerkit.lock") == NO_LOCK


def test_a_request_is_the_same_whatever_the_order_of_its_keys() -> None:
    assert digest_request({"a": [1, "x"], "b": ""}) == digest_request({"b": "", "a": [1, "x"]})
    assert digest_request({"a": [1, "x"]}) != digest_request({"a": ["x", 1]})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (f'sha256 = "{A.encoded}", reason', 'sha256 = "x", reason', "apt[0].package[0].sha256: invalid digest"),
        ("size = 2850280", "size = -1", "apt[0].package[0].size: expected `int` >= 0"),
        ("size = 2850280", 'size = "1"', "apt[0].package[0].size: expected `int`, got `str`"),
        ("pool/main/g/", "pool/../g/", "apt[0].package[0].path: 'pool/../g/glibc/libc6_2.41-12_amd64.deb' is no path"),
        ("pool/main/g/", "/main/g/", "apt[0].package[0].path: '/main/g/glibc/libc6_2.41-12_amd64.deb' is no path"),
        ("pool/main/g/", "https://x/", "apt[0].package[0].path: 'https://x/glibc/libc6_2.41-12_amd64.deb' is no path"),
        ('file = "aio', 'file = "../aio', "python[0].package[0].file: '../aiohttp-"),
        ('name = "libc6"', 'name = "lib\\nc6"', "apt[0].package[0].name: 'lib\\nc6' is no name"),
        ('name = "libc6", ', "", "apt[0].package[0]: object missing required field `name`"),
        ("suites", "suits", "apt[0]: object contains unknown field `suits`"),
        ('layer = "os"\n', "", "apt[0]: object missing required field `layer`"),
        ('platform = "linux/amd64"', 'platform = "linux"', "apt[0].platform: invalid platform 'linux'"),
        ("20261101T000000Z", "today", "apt[0].snapshot: 'today' is no snapshot"),
        (f'"{A}"\n\n[urls]', "3\n\n[urls]", "bases[...]: expected a text, got int"),
        ("[bases]", "[[bases]]", "bases: expected `object`, got `array`"),
        ("version = 1", "version = 2", "the lock is of form 2, this layerkit knows up to 1"),
        ("version = 1", "version = 0", "version: 0 is none"),
        ("version = 1", "", "object missing required field `version`"),
        ("[[python]]", "[[python]", "no lock: "),
        ("version = 1", "deep = " + "[" * 100_000, "no lock: "),
    ],
    ids=lambda value: None,
)
def test_what_is_no_lock_is_refused_by_its_place(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(DocumentError) as error:
        parse_lock(TEXT.replace(old, new, 1), "layerkit.lock")
    (problem,) = error.value.problems
    assert message in problem.message
    assert problem.file == "layerkit.lock"
    assert problem.hint


def test_what_is_no_toml_is_refused_by_its_line() -> None:
    with pytest.raises(DocumentError, match=r"^layerkit\.lock:2:11: no lock: "):
        parse_lock("version = 1\nbases = {x}\n", "layerkit.lock")


@pytest.mark.parametrize("kind", ["apt", "python"])
def test_what_is_there_twice_is_refused(kind: str) -> None:
    entry = TEXT[TEXT.index(f"[[{kind}]]") :].split("\n\n", maxsplit=1)[0]
    with pytest.raises(DocumentError, match=rf"{kind}\[1\]: layer 'os' of web for linux/amd64 is there twice"):
        parse_lock(f"{TEXT}\n{entry}\n", "layerkit.lock")
    line = next(line for line in entry.splitlines() if line.startswith("  {"))
    with pytest.raises(DocumentError, match=rf"{kind}\[0\]\.package\[1\]: \S+ is there twice"):
        parse_lock(TEXT.replace(line, f"{line}\n{line}"), "layerkit.lock")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"version = 1\n\x00"])
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "layerkit.lock"
    path.write_bytes(content)
    with pytest.raises(DocumentError, match=r"layerkit\.lock"):
        load_lock(path)
    with pytest.raises(DocumentError, match="cannot be read"):
        load_lock(tmp_path)


@given(st.text(max_size=200) | st.text(alphabet='[]{}="\n.ab1', max_size=60))
def test_no_text_is_more_than_refused(text: str) -> None:
    try:
        parse_lock(text, "layerkit.lock")
    except DocumentError:
        return
