"""Which interpreter and which C library an image has, by what is in it."""

from collections.abc import Mapping, Sequence

import pytest

from layerkit.layer.entry import EntryType
from layerkit.layer.index import IndexedEntry
from layerkit.layer.tree import FileTree
from layerkit.packages.errors import PackageError
from layerkit.packages.osrelease import parse_os_release
from layerkit.packages.python.interpreter import Surroundings, find_target

BOOKWORM = {"python3-minimal": "3.11.2-1+b1", "python3.11-minimal": "3.11.2-6+deb12u3", "libc6": "2.36-9+deb12u7"}


def around(
    files: Sequence[str] = (),
    *,
    links: Mapping[str, str] | None = None,
    packages: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    os_release: str = "",
) -> Surroundings:
    tree = FileTree()
    tree.add(
        [
            *(IndexedEntry(path=path, type=EntryType.FILE, mode=0o755) for path in files),
            *(
                IndexedEntry(path=path, type=EntryType.SYMLINK, mode=0o777, link=target)
                for path, target in (links or {}).items()
            ),
        ]
    )
    return Surroundings(
        tree=tree, packages=packages or {}, environment=environment or {}, os_release=parse_os_release(os_release)
    )


def found(image: Surroundings, interpreter: str = "/usr/bin/python3", version: str = "") -> str:
    target, _ = find_target(image, "x86_64", interpreter, version)
    return f"{target.full_version} {target.libc}"


def test_debian_is_known_by_its_packages() -> None:
    image = around(["usr/bin/python3.11"], links={"usr/bin/python3": "python3.11"}, packages=BOOKWORM)
    assert found(image) == "3.11.2 glibc 2.36"


def test_packages_of_the_layer_itself_have_no_files_yet() -> None:
    assert found(around(packages=BOOKWORM)) == "3.11.2 glibc 2.36"
    assert found(around(packages={**BOOKWORM, "python3.13": "3.13.5-2"}), "/usr/bin/python3.13") == "3.13.5 glibc 2.36"


def test_the_official_image_of_python_is_known_by_its_environment() -> None:
    links = {"usr/local/bin/python3": "python3.13"}
    image = around(
        ["usr/local/bin/python3.13"],
        links=links,
        packages={"libc6": "2.41-12", "python3.13": "3.13.1-1"},
        environment={"PYTHON_VERSION": "3.13.9"},
    )
    assert found(image, "/usr/local/bin/python3").startswith("3.13.")
    alpine = around(["usr/local/bin/python3.12", "lib/ld-musl-x86_64.so.1"], environment={"PYTHON_VERSION": "3.12.4"})
    assert found(alpine, "/usr/local/bin/python3.12") == "3.12.4 musl 1.2"


def test_an_interpreter_without_a_version_in_its_name_is_known_by_its_folder() -> None:
    image = around(["opt/python/bin/python", "opt/python/lib/python3.12/os.py"], os_release="ID=debian\nVERSION_ID=13")
    assert found(image, "/opt/python/bin/python") == "3.12.0 glibc 2.41"


def test_what_the_spec_says_goes_before_what_is_found() -> None:
    assert found(around(packages=BOOKWORM), version="3.11") == "3.11.2 glibc 2.36"
    assert found(around(packages=BOOKWORM), version="3.12.1") == "3.12.1 glibc 2.36"


@pytest.mark.parametrize(
    ("os_release", "libc"),
    [
        ('ID="almalinux"\nVERSION_ID="9.4"\nPLATFORM_ID="platform:el9"\n', "glibc 2.34"),
        ("ID=ubuntu\nVERSION_ID='24.04'\n", "glibc 2.39"),
        ("ID=other\n", "glibc 2.28"),
    ],
)
def test_a_distribution_tells_its_library(os_release: str, libc: str) -> None:
    assert found(around(os_release=os_release), version="3.12.0") == f"3.12.0 {libc}"


def test_old_names_of_the_library_tell_its_version() -> None:
    image = around(["lib/x86_64-linux-gnu/libc-2.31.so"])
    assert found(image, version="3.9") == "3.9.0 glibc 2.31"


def test_a_library_that_nobody_knows_is_told() -> None:
    _, warnings = find_target(around(), "x86_64", "/usr/bin/python3", "3.12")
    assert "glibc 2.28 and older" in warnings[0]
    _, warnings = find_target(around(packages=BOOKWORM), "x86_64", "/usr/bin/python3", "3.12")
    assert warnings == ()


@pytest.mark.parametrize(
    "image",
    [around(), around(["usr/bin/python3", "usr/lib/python3.11/a", "usr/lib/python3.12/a"])],
    ids=["nothing", "two"],
)
def test_an_interpreter_that_nobody_knows_is_an_error(image: Surroundings) -> None:
    with pytest.raises(PackageError, match=r"no /usr/bin/python3.*apt: \[python3\].*`version`"):
        found(image)


def test_an_interpreter_that_stands_elsewhere_is_told() -> None:
    with pytest.raises(PackageError, match="it has /usr/local/bin/python3, which can be named as `interpreter`"):
        found(around(["usr/local/bin/python3.13"], links={"usr/local/bin/python3": "python3.13"}))


def test_links_in_a_circle_are_an_error() -> None:
    with pytest.raises(PackageError, match="loop"):
        found(around(links={"usr/bin/python3": "python3"}))
