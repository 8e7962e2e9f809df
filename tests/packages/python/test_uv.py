"""uv resolves for the target, with wheels of a folder in the place of an index: nothing goes over the network."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from layerkit.packages.errors import PackageError
from layerkit.packages.python.pylock import choose_of_pylock
from layerkit.packages.python.target import Family, Libc, Target
from layerkit.packages.python.uv import Uv, find_uv
from tests.wheels import BOOKWORM, make_wheel

ALPINE = Target(full_version="3.12.1", machine="aarch64", libc=Libc(Family.MUSL, 1, 2))


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for version in ("1.0", "2.0"):
        make_wheel(folder, "hello", version)
    make_wheel(folder, "native", tag="cp311-cp311-manylinux_2_28_x86_64")
    make_wheel(folder, "native", tag="cp312-cp312-musllinux_1_2_aarch64")
    make_wheel(folder, "native", "2.0", tag="cp312-cp312-musllinux_1_2_aarch64")
    make_wheel(folder, "native", tag="cp311-cp311-linux_armv7l")
    return folder


@pytest.fixture
def uv(wheels: Path, tmp_path: Path) -> Uv:
    environment = {
        "PATH": os.defpath,
        "HOME": str(tmp_path),
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "UV_FIND_LINKS": str(wheels),
    }
    return Uv(program=find_uv(), environment=environment, options=("--no-index",))


def resolve(uv: Uv, text: str, target: Target, folder: Path, preferred: dict[str, str] | None = None) -> list[str]:
    path = folder / "requirements.txt"
    path.write_text(text)
    answer = uv.compile(path, target, preferred=preferred)
    found = choose_of_pylock(answer.text, what=path.name, folder=answer.folder, target=target)
    return [f"{each.name} {each.version} {each.file.partition('-')[2]}" for each in found]


def test_versions_are_those_that_have_wheels_for_the_target(uv: Uv, tmp_path: Path) -> None:
    assert resolve(uv, "hello\nnative\n", BOOKWORM, tmp_path) == [
        "hello 2.0 2.0-py3-none-any.whl",
        "native 1.0 1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
    ]
    assert resolve(uv, "hello<2\nnative\n", ALPINE, tmp_path) == [
        "hello 1.0 1.0-py3-none-any.whl",
        "native 2.0 2.0-cp312-cp312-musllinux_1_2_aarch64.whl",
    ]


def test_machines_that_uv_has_no_name_for_are_resolved_for(uv: Uv, tmp_path: Path) -> None:
    arm = Target(full_version="3.11.2", machine="armv7l", libc=Libc(Family.GLIBC, 2, 36))
    assert resolve(uv, "native<2\n", arm, tmp_path) == ["native 1.0 1.0-cp311-cp311-linux_armv7l.whl"]


def test_versions_that_were_chosen_before_are_kept(uv: Uv, tmp_path: Path) -> None:
    assert resolve(uv, "hello\n", BOOKWORM, tmp_path, {"hello": "1.0"}) == ["hello 1.0 1.0-py3-none-any.whl"]


def test_what_is_locked_is_found_again(uv: Uv, tmp_path: Path) -> None:
    answer = uv.find([("hello", "1.0")], BOOKWORM, tmp_path)
    found = choose_of_pylock(answer.text, what="lock", folder=answer.folder, target=BOOKWORM)
    assert [each.file for each in found] == ["hello-1.0-py3-none-any.whl"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello==9\n", "requirements.txt cannot be resolved for Python 3.11.2 .*no version of hello==9"),
        ("gone\n", "gone was not found"),
        ("hello ==\n", "requirements.txt"),
    ],
)
def test_what_cannot_be_resolved_is_told_in_one_line(text: str, message: str, uv: Uv, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=message) as caught:
        resolve(uv, text, BOOKWORM, tmp_path)
    assert "\n" not in str(caught.value)


def test_no_login_is_told(uv: Uv, tmp_path: Path) -> None:
    environment = {**uv.environment, "UV_FIND_LINKS": "http://me:secret@127.0.0.1:9/", "UV_HTTP_RETRIES": "0"}
    with pytest.raises(PackageError) as caught:
        resolve(Uv(program=uv.program, environment=environment, options=uv.options), "hello\n", BOOKWORM, tmp_path)
    assert "secret" not in str(caught.value)


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    uv = Uv(program=str(tmp_path / "none"), environment={})
    with pytest.raises(PackageError, match="none cannot be run: No such file"):
        resolve(uv, "hello\n", BOOKWORM, tmp_path)


def test_wheels_that_requirements_name_by_their_paths_are_found(uv: Uv, tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text("./wheels/hello-1.0-py3-none-any.whl\n")
    answer = uv.compile(path, BOOKWORM)
    (found,) = choose_of_pylock(answer.text, what=path.name, folder=answer.folder, target=BOOKWORM)
    assert Path(urlsplit(found.url).path).resolve() == tmp_path / "wheels/hello-1.0-py3-none-any.whl"
