"""uv.lock: the part of it that a target has."""

from pathlib import Path

import pytest

from layerkit.packages.errors import PackageError
from layerkit.packages.python.choice import Chosen
from layerkit.packages.python.target import Family, Libc, Target
from layerkit.packages.python.uvlock import choose_of_uvlock
from tests.wheels import BOOKWORM

HASH = "ab" * 32
ARM = Target(full_version="3.12.4", machine="aarch64", libc=Libc(Family.GLIBC, 2, 36))


def package(name: str, version: str, *files: str, rest: str = "") -> str:
    wheels = ", ".join(
        f'{{ url = "https://files.example.org/{file}", hash = "sha256:{HASH}", size = 5 }}'
        for file in files or (f"{name}-{version}-py3-none-any.whl",)
    )
    return (
        f'[[package]]\nname = "{name}"\nversion = "{version}"\n'
        f'source = {{ registry = "https://index.example.org/simple" }}\n{rest}\nwheels = [{wheels}]\n'
    )


ROOT = """\
version = 1
requires-python = ">=3.11"

[[package]]
name = "app"
version = "0.1"
source = { virtual = "." }
dependencies = [
    { name = "web", extra = ["fast"] },
    { name = "native", version = "1.0", marker = "python_full_version < '3.12'" },
    { name = "native", version = "2.0", marker = "python_full_version >= '3.12'" },
    { name = "win", marker = "sys_platform == 'win32'" },
]

[package.optional-dependencies]
cpu = [{ name = "torch", version = "1.0" }]
gpu = [{ name = "torch", version = "2.0" }]

[package.dev-dependencies]
dev = [{ name = "checker" }]

"""
LOCK = ROOT + "\n".join(
    [
        package("web", "3.0", rest='dependencies = [{ name = "cycle" }]').replace("wheels", "wheels", 1)
        + '\n[package.optional-dependencies]\nfast = [{ name = "speed", marker = "platform_machine == \'x86_64\'" }]\n',
        package("cycle", "1.0", rest='dependencies = [{ name = "web" }]'),
        package("speed", "1.0", "speed-1.0-cp311-cp311-manylinux_2_28_x86_64.whl", "speed-1.0-py3-none-any.whl"),
        package("native", "1.0", "native-1.0-cp311-cp311-manylinux2014_x86_64.whl"),
        package(
            "native",
            "2.0",
            "native-2.0-cp312-cp312-manylinux2014_x86_64.whl",
            "native-2.0-cp312-cp312-manylinux2014_aarch64.whl",
        ),
        package("win", "1.0"),
        package(
            "torch",
            "1.0",
            rest='dependencies = [{ name = "cpu-only", marker = "extra == \'extra-3-app-cpu\'" }, '
            '{ name = "gpu-only", marker = "extra != \'extra-3-app-cpu\'" }]',
        ),
        package("torch", "2.0"),
        package("cpu-only", "1.0", "cpu_only-1.0-py3-none-any.whl"),
        package("gpu-only", "1.0", "gpu_only-1.0-py3-none-any.whl"),
        package("checker", "1.0"),
    ]
)


def chosen(
    text: str = LOCK,
    target: Target = BOOKWORM,
    *,
    project: Path | None = None,
    extras: tuple[str, ...] = (),
    groups: tuple[str, ...] = (),
) -> dict[str, Chosen]:
    found = choose_of_uvlock(
        text, what="uv.lock", folder=Path("/spec"), target=target, project=project, extras=extras, groups=groups
    )
    return {each.name: each for each in found}


def test_a_target_gets_what_its_markers_and_tags_ask_for() -> None:
    found = chosen()
    assert {name: each.file for name, each in found.items()} == {
        "cycle": "cycle-1.0-py3-none-any.whl",
        "native": "native-1.0-cp311-cp311-manylinux2014_x86_64.whl",
        "speed": "speed-1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "web": "web-3.0-py3-none-any.whl",
    }
    assert found["web"] == Chosen(
        name="web",
        version="3.0",
        file="web-3.0-py3-none-any.whl",
        url="https://files.example.org/web-3.0-py3-none-any.whl",
        sha256=found["web"].sha256,
        size=5,
        reason="app, cycle",
    )
    assert found["web"].sha256 == f"sha256:{HASH}"
    arm = chosen(target=ARM)
    assert {name: each.version for name, each in arm.items()} == {"cycle": "1.0", "native": "2.0", "web": "3.0"}
    assert arm["native"].file.endswith("aarch64.whl")


def test_extras_and_groups_are_those_that_are_asked_for() -> None:
    assert chosen(groups=("dev",)).keys() - chosen().keys() == {"checker"}
    assert chosen(extras=("gpu",))["torch"].version == "2.0"


def test_extras_that_exclude_each_other_are_told_apart_by_markers() -> None:
    """uv writes `extra == 'extra-3-app-cpu'` for the extra `cpu` of the project `app`."""
    found = chosen(extras=("cpu",))
    assert found["torch"].version == "1.0"
    assert found.keys() - chosen().keys() == {"torch", "cpu-only"}


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (LOCK, {"extras": ("none",)}, "uv.lock has no extra 'none': it has cpu, gpu"),
        (LOCK, {"groups": ("none",)}, "uv.lock has no group 'none': it has dev"),
        (LOCK, {"extras": ("cpu", "gpu")}, "uv.lock has two versions of torch"),
        (LOCK, {"project": Path("/spec/other")}, "no project in other: it has app in ."),
        (LOCK.replace(">=3.11", ">=3.12"), {}, "uv.lock is for Python >=3.12, and the image has 3.11.2"),
        (LOCK.replace("version = 1\n", "version = 2\n", 1), {}, "uv.lock is of version 2"),
        ("", {}, "uv.lock is of version None"),
        ("a", {}, "uv.lock cannot be read"),
        ("version = 1\npackage = 3", {}, "uv.lock is no lock of uv: .*package"),
        (LOCK.replace("python_full_version < '3.12'", "so"), {}, "uv.lock has a marker that is none: 'so'"),
        (
            LOCK.replace("cp311-cp311-manylinux2014", "cp311-cp311-win"),
            {},
            "no wheel of native 1.0 runs on Python 3.11.2",
        ),
        (LOCK.replace("cp311-cp311-manylinux2014_", "cp311-"), {}, "a wheel that is none"),
        (LOCK.replace(HASH, "zz"), {}, "has no SHA-256"),
        (LOCK.replace('"cycle"', '"gone"', 1), {}, "has 0 packages that could be gone"),
        (LOCK.replace("/web-3.0", "/evil-3.0"), {}, "another's wheel"),
        (
            LOCK.replace(
                'name = "web"\nversion = "3.0"\nsource = { registry = "https://index.example.org/simple" }',
                'name = "web"\nversion = "3.0"\nsource = { git = "https://git.example.org/web" }',
            ),
            {},
            "web as a commit of https://git.example.org/web",
        ),
    ],
)
def test_what_cannot_be_had_is_told(text: str, options: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(PackageError, match=message):
        chosen(text, **options)  # type: ignore[arg-type]


def test_a_package_without_wheels_is_told_with_what_to_do() -> None:
    begin = LOCK.index("wheels", LOCK.index('name = "cycle"\nversion'))
    text = LOCK[:begin] + LOCK[LOCK.index("\n", begin) :]
    with pytest.raises(PackageError, match=r"no wheel of cycle 1.0 .* none at all.*not built here.*find-links"):
        chosen(text)


def test_wheels_of_this_machine_are_found_from_the_folder_of_the_lock() -> None:
    text = (
        'version = 1\n[[package]]\nname = "app"\nversion = "1"\nsource = { editable = "." }\n'
        'dependencies = [{ name = "a" }, { name = "b" }]\n'
        '[[package]]\nname = "a"\nversion = "1"\nsource = { registry = "w" }\n'
        'wheels = [{ path = "a-1-py3-none-any.whl" }]\n'
        '[[package]]\nname = "b"\nversion = "1"\nsource = { path = "w/b-1-py3-none-any.whl" }\n'
        f'wheels = [{{ filename = "b-1-py3-none-any.whl", hash = "sha256:{HASH}" }}]\n'
    )
    found = chosen(text)
    assert found["a"].url == "file:///spec/w/a-1-py3-none-any.whl"
    assert found["a"].sha256 is None
    assert found["b"].url == "file:///spec/w/b-1-py3-none-any.whl"
    assert found["b"].sha256 == f"sha256:{HASH}"
