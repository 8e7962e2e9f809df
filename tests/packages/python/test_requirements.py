"""requirements.txt: what it includes and demands (pip, "Requirements File Format")."""

from pathlib import Path

import pytest

from layerkit.oci.digest import Digest
from layerkit.packages.errors import PackageError
from layerkit.packages.python.requirements import Requirements, fill_in, load_requirements

ONE, TWO = Digest("sha256:" + "1" * 64), Digest("sha256:" + "2" * 64)


def load(folder: Path, **files: str) -> Requirements:
    for name, text in files.items():
        path = folder / f"{name}.txt"
        path.write_text(text)
    return load_requirements(folder / "requirements.txt", folder)


def test_files_that_are_included_are_part_of_it(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        requirements="-r base.txt\n--constraint=limits.txt\n-crest.txt # why\nflask\n-r base.txt\n# -r gone.txt\n",
        base="-r requirements.txt\nclick\n",
        limits="click<9\n",
        rest="",
    )
    assert found.files.keys() == {"requirements.txt", "base.txt", "limits.txt", "rest.txt"}
    assert found.hashes == {}
    found.check("flask", "flask-1-py3-none-any.whl", ONE)


def test_hashes_are_by_name(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        requirements=(
            f"Flask.Thing==1.0 ; python_version > '3' \\\n    --hash=sha256:{ONE.encoded} \\\n"
            f"    --hash=sha256:{TWO.encoded.upper()}\nclick==8 --hash=sha512:ab --hash sha256:{TWO.encoded}\n"
        ),
    )
    assert found.hashes == {"flask-thing": {ONE, TWO}, "click": {TWO}}
    found.check("click", "click-8-py3-none-any.whl", TWO)
    with pytest.raises(PackageError, match=f"click-8.*not what requirements.txt demands: none of its hashes is {ONE}"):
        found.check("click", "click-8-py3-none-any.whl", ONE)
    with pytest.raises(PackageError, match="it has no hash for this package"):
        found.check("other", "other-8-py3-none-any.whl", ONE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-r ../outside.txt", "outside of the folder of the spec"),
        ("-r /etc/passwd", "outside of the folder of the spec"),
        ("-r link.txt", "outside of the folder of the spec"),
        ("-r gone.txt", "gone.txt cannot be read: No such file"),
        ("-r https://a.example/r.txt", "keep a copy beside it"),
        ("a==1 --hash=sha256:ab", "demands a hash that is none"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "spec").mkdir()
    (tmp_path / "spec/link.txt").symlink_to("/etc/passwd")
    (tmp_path / "outside.txt").write_text("")
    with pytest.raises(PackageError, match=message):
        load(tmp_path / "spec", requirements=text)


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes(b"\xff")
    with pytest.raises(PackageError, match=r"requirements.txt is not UTF-8"):
        load_requirements(tmp_path / "requirements.txt", tmp_path)


def test_indexes_are_those_that_it_names(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        requirements=(
            "-i https://${A}:b@a.example/simple\n--extra-index-url=https://b.example\n-f wheels\n-r more.txt\nc\n"
        ),
        more="--find-links https://c.example/wheels # why\n",
    )
    assert found.indexes == ("https://${A}:b@a.example/simple", "https://b.example", "https://c.example/wheels")
    assert fill_in(found.indexes[0], {"A": "me"}) == "https://me:b@a.example/simple"
    assert fill_in("${GONE}", {}) == "${GONE}"
