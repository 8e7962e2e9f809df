"""pylock.toml (PyPA, "pylock.toml Specification")."""

from pathlib import Path

import pytest

from layerkit.packages.errors import PackageError
from layerkit.packages.python.choice import Chosen
from layerkit.packages.python.pylock import choose_of_pylock
from layerkit.packages.python.target import Family, Libc, Target
from tests.wheels import BOOKWORM

HASH = "ab" * 32
ALPINE = Target(full_version="3.12.4", machine="aarch64", libc=Libc(Family.MUSL, 1, 2))

LOCK = f"""\
lock-version = "1.0"
created-by = "test"
requires-python = ">=3.11"
extras = ["fast"]
dependency-groups = ["dev", "main"]
default-groups = ["main"]

[[packages]]
name = "web"
version = "3.0"
dependencies = [{{ name = "native" }}]
wheels = [
    {{ url = "https://files.example.org/a%20b/web-3.0-py3-none-any.whl", size = 7, hashes = {{ sha256 = "{HASH}" }} }},
]

[[packages]]
name = "native"
version = "1.0"
wheels = [
    {{ path = "w/native-1.0-cp311-cp311-manylinux2014_x86_64.whl", hashes = {{ sha256 = "{HASH}" }} }},
    {{ path = "w/native-1.0-1-cp311-cp311-manylinux2014_x86_64.whl", hashes = {{ sha256 = "{HASH}" }} }},
    {{ url = "https://a.test", name = "native-1.0-cp312-cp312-musllinux_1_1_aarch64.whl", hashes.sha256 = "{HASH}" }},
]

[[packages]]
name = "speed"
version = "1.0"
marker = "'fast' in extras"
wheels = [{{ url = "https://files.example.org/speed-1.0-py3-none-any.whl", hashes = {{ sha256 = "{HASH}" }} }}]

[[packages]]
name = "checker"
version = "1.0"
marker = "'dev' in dependency_groups"
wheels = [{{ url = "https://files.example.org/checker-1.0-py3-none-any.whl", hashes = {{ sha256 = "{HASH}" }} }}]

[[packages]]
name = "usual"
marker = "'main' in dependency_groups"
archive = {{ url = "https://files.example.org/usual-1.0-py3-none-any.whl", hashes = {{ sha256 = "{HASH}" }} }}

[[packages]]
name = "app"
directory = {{ path = "." }}
"""


def chosen(
    text: str = LOCK,
    target: Target = BOOKWORM,
    *,
    extras: tuple[str, ...] = (),
    groups: tuple[str, ...] | None = None,
) -> dict[str, Chosen]:
    found = choose_of_pylock(
        text, what="pylock.toml", folder=Path("/spec"), target=target, extras=extras, groups=groups
    )
    return {each.name: each for each in found}


def test_a_target_gets_what_its_markers_and_tags_ask_for() -> None:
    found = chosen()
    assert found.keys() == {"web", "native", "usual"}
    assert found["native"].url == "file:///spec/w/native-1.0-1-cp311-cp311-manylinux2014_x86_64.whl"
    assert found["web"].file == "web-3.0-py3-none-any.whl"
    assert found["web"].size == 7
    assert found["native"].reason == "web"
    assert found["usual"].version == "1.0"
    assert chosen(target=ALPINE)["native"].url == "https://a.test"


def test_extras_and_groups_are_those_that_are_asked_for() -> None:
    """ "dependency_groups SHOULD be the set created from default-groups by default"."""
    assert chosen(extras=("fast",)).keys() == {"web", "native", "usual", "speed"}
    assert chosen(groups=("dev",)).keys() == {"web", "native", "checker"}
    assert chosen(groups=()).keys() == {"web", "native"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lock", "pylock.toml cannot be read"),
        ("", "pylock.toml is no lock: .*lock-version"),
        (LOCK.replace('"1.0"', '"2.0"', 1), "pylock.toml is no lock: .*2.0"),
        (LOCK.replace(">=3.11", ">=3.12"), "pylock.toml is for Python >=3.12, and the image has 3.11.2"),
        (f"environments = 3\n{LOCK}", "pylock.toml is no lock: .*environments"),
        (f"environments = [\"sys_platform == 'win32'\"]\n{LOCK}", 'is for sys_platform == "win32", and not for'),
        (LOCK.replace("'fast' in extras", "nothing == 'a'"), "pylock.toml is no lock: .*marker"),
        (LOCK.replace("manylinux2014", "macosx_11_0"), "no wheel of native 1.0 runs on .* it has cp311-cp311-macosx"),
        (LOCK.replace(f'sha256 = "{HASH}"', f'sha512 = "{HASH * 2}"'), "has no SHA-256 in the lock"),
        (LOCK.replace('directory = { path = "." }', 'directory = { path = "../other" }'), "app as the folder ../other"),
        (LOCK.replace("usual-1.0-py3-none-any.whl", "usual-1.0.zip"), "usual as the archive usual-1.0.zip"),
        (
            LOCK.replace(
                'directory = { path = "." }', 'vcs = { type = "git", url = "https://a.test", commit-id = "1" }'
            ),
            "app as a commit of https://a.test",
        ),
        (LOCK.replace('name = "checker"', 'name = "web"'), "pylock.toml is no lock"),
        (LOCK + LOCK[LOCK.index("[[packages]]") : LOCK.index("[[packages]]", 300)], "has web twice"),
    ],
)
def test_what_cannot_be_had_is_told(text: str, message: str) -> None:
    with pytest.raises(PackageError, match=message):
        chosen(text)


def test_extras_and_groups_that_the_lock_does_not_have_are_told() -> None:
    with pytest.raises(PackageError, match="has no extra 'slow': it has fast"):
        chosen(extras=("slow",))
    with pytest.raises(PackageError, match="has no group 'test': it has dev, main"):
        chosen(groups=("test",))
