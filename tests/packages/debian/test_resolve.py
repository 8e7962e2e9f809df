"""Which packages a set of names needs, and why (Debian Policy, 7.2 to 7.5)."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from layerkit.packages.debian.resolve import resolve
from layerkit.packages.debian.universe import PackageList, Universe, read_status
from layerkit.packages.errors import PackageError


def make_universe(*lists: str, priority: int = 500) -> Universe:
    return Universe(
        [
            PackageList(text.encode(), architecture="amd64", origin=f"list {n}", priority=priority)
            for n, text in enumerate(lists)
        ],
        architecture="amd64",
    )


def stanza(name: str, version: str = "1", architecture: str = "amd64", **fields: str) -> str:
    lines = [f"Package: {name}", f"Version: {version}", f"Architecture: {architecture}"]
    lines += [f"{field.replace('_', '-').title()}: {value}" for field, value in fields.items()]
    return "\n".join(lines) + "\n\n"


def names(universe: Universe, *wanted: str, installed: str = "") -> list[str]:
    status = read_status(installed.encode(), architecture="amd64", origin="status")
    return [item.package.name for item in resolve(wanted, universe, status)]


def test_what_is_needed_comes_with_the_reason() -> None:
    universe = make_universe(stanza("a", depends="b") + stanza("b", pre_depends="c (>= 2)") + stanza("c", "2"))
    assert [(str(item.package), item.reason) for item in resolve(["a"], universe)] == [
        ("a 1", ""),
        ("b 1", "a"),
        ("c 2", "b"),
    ]


def test_what_is_wanted_is_what_others_get() -> None:
    """As apt does: of alternatives the one that is asked for, wherever it stands among the names."""
    lists = stanza("a", depends="b | c") + stanza("b") + stanza("c")
    assert names(make_universe(lists), "a", "c") == ["a", "c"]


def test_recommended_packages_stay_out() -> None:
    assert names(make_universe(stanza("a", recommends="b", suggests="c") + stanza("b") + stanza("c")), "a") == ["a"]


def test_the_first_alternative_that_can_be_had_is_taken() -> None:
    lists = stanza("a", depends="gone | b | c") + stanza("b") + stanza("c")
    assert names(make_universe(lists), "a") == ["a", "b"]


def test_an_alternative_that_is_there_is_enough() -> None:
    lists = stanza("a", depends="c, b | c") + stanza("b") + stanza("c")
    assert names(make_universe(lists), "a") == ["a", "c"]
    assert names(make_universe(lists), "a", installed=stanza("c", status="install ok installed")) == ["a"]


def test_the_next_alternative_is_taken_where_one_conflicts() -> None:
    lists = stanza("a", depends="b | c") + stanza("b", depends="d") + stanza("d", conflicts="a") + stanza("c")
    assert names(make_universe(lists), "a") == ["a", "c"]


def test_a_virtual_package_is_met_by_its_most_important_provider() -> None:
    lists = (
        stanza("a", depends="mail")
        + stanza("x", provides="mail", priority="optional")
        + stanza("y", provides="mail", priority="important")
    )
    assert names(make_universe(lists), "a") == ["a", "y"]


def test_a_versioned_relation_is_met_by_a_versioned_provision_alone() -> None:
    """ "if no version is given for the provided package, it will not satisfy versioned dependencies" (Policy, 7.5)."""
    lists = (
        stanza("a", depends="abi (>= 2)") + stanza("b", provides="abi") + stanza("c", provides="abi (= 2), other (= 1)")
    )
    assert names(make_universe(lists), "a") == ["a", "c"]


def test_the_highest_version_of_all_lists_is_the_candidate() -> None:
    universe = make_universe(stanza("a", "1.9"), stanza("a", "1.10"))
    assert [str(item.package) for item in resolve(["a"], universe)] == ["a 1.10"]
    assert [str(item.package) for item in resolve(["a=1.9"], universe)] == ["a 1.9"]


def test_a_suite_that_is_not_automatic_gives_way() -> None:
    lists = [
        PackageList(stanza("a", "1").encode(), architecture="amd64", origin="main"),
        PackageList(stanza("a", "2").encode(), architecture="amd64", origin="backports", priority=100),
    ]
    universe = Universe(lists, architecture="amd64")
    assert [str(item.package) for item in resolve(["a"], universe)] == ["a 1"]


def test_any_is_met_by_who_allows_it() -> None:
    lists = stanza("a", depends="p:any") + stanza("p", multi_arch="allowed")
    assert names(make_universe(lists), "a") == ["a", "p"]
    with pytest.raises(PackageError, match="a 1 needs p:any"):
        names(make_universe(stanza("a", depends="p:any") + stanza("p")), "a")


def test_what_is_installed_is_renewed_only_where_a_newer_version_is_needed() -> None:
    lists = stanza("a", depends="lib") + stanza("b", depends="lib (>= 2)") + stanza("lib", "2")
    installed = stanza("lib", "1", status="install ok installed")
    assert names(make_universe(lists), "a", installed=installed) == ["a"]
    assert names(make_universe(lists), "a", "lib", installed=installed) == ["a"]
    assert names(make_universe(lists), "b", installed=installed) == ["b", "lib"]
    assert names(make_universe(lists), "lib=2", installed=installed) == ["lib"]


def test_what_needs_the_old_version_is_renewed_too() -> None:
    lists = stanza("b", depends="lib (= 2)") + stanza("lib", "2") + stanza("lib-dev", "2", depends="lib (= 2)")
    installed = "".join(
        [
            stanza("lib", "1", status="install ok installed"),
            stanza("lib-dev", depends="lib (= 1)", status="a b installed"),
        ]
    )
    assert names(make_universe(lists), "b", installed=installed) == ["b", "lib", "lib-dev"]


def test_what_the_new_one_breaks_is_renewed_too() -> None:
    lists = stanza("b", breaks="tool (<< 2)") + stanza("tool", "2", depends="more") + stanza("more")
    installed = stanza("tool", status="install ok installed")
    assert names(make_universe(lists), "b", installed=installed) == ["b", "more", "tool"]


def test_what_cannot_be_renewed_keeps_the_others_out() -> None:
    installed = stanza("lib", status="a b installed") + stanza("old", depends="lib (= 1)", status="a b installed")
    lists = stanza("b", depends="lib (>= 2) | c") + stanza("lib", "2") + stanza("c")
    assert names(make_universe(lists), "b", installed=installed) == ["b", "c"]
    with pytest.raises(PackageError, match=r"b 1 needs lib \(>= 2\): old 1 needs lib \(= 1\)"):
        names(make_universe(lists.replace(" | c", "")), "b", installed=installed)


def test_circles_end() -> None:
    assert names(make_universe(stanza("a", depends="b") + stanza("b", depends="a")), "a") == ["a", "b"]


@pytest.mark.parametrize(
    ("lists", "wanted", "message"),
    [
        (stanza("nginx"), "ngnix", r"no package ngnix in the lists for amd64 \(did you mean nginx\?\)"),
        (stanza("a", "2"), "a=1", "package a has no version 1: the mirror has 2"),
        (stanza("a", depends="b"), "a", "package a cannot be installed: a 1 needs b, which no list has"),
        (
            stanza("a", depends="b (>= 2)") + stanza("b"),
            "a",
            r"a 1 needs b \(>= 2\), which the lists have in version 1 alone",
        ),
        (
            stanza("a", depends="b, c") + stanza("b", conflicts="c") + stanza("c"),
            "a",
            "a 1 needs c: b 1 conflicts with c 1",
        ),
        (
            stanza("a", provides="v") + stanza("b", provides="v"),
            "v",
            r"package v is a virtual one: name one of those that provide it \(a, b\)",
        ),
    ],
)
def test_what_cannot_be_is_told_with_the_chain_to_it(lists: str, wanted: str, message: str) -> None:
    with pytest.raises(PackageError, match=message):
        names(make_universe(lists), wanted)


def test_what_cannot_be_leaves_nothing_behind() -> None:
    lists = stanza("a", depends="b | c") + stanza("b", depends="d, gone") + stanza("d") + stanza("c")
    assert names(make_universe(lists), "a") == ["a", "c"]


# From `base-files` to `chromium`: what each needs besides itself differs by two orders of magnitude.
_SETS = (
    "base-files",
    "bash",
    "coreutils",
    "libpq5",
    "curl ca-certificates",
    "python3",
    "python3-numpy",
    "python3-django python3-psycopg2 gunicorn",
    "nginx",
    "postgresql",
    "redis-server",
    "openjdk-17-jre-headless",
    "nodejs",
    "ruby",
    "git",
    "php-fpm",
    "apache2",
    "mariadb-server",
    "chromium",
    "ffmpeg",
    "systemd openssh-server",
    "gcc",
    "imagemagick",
    "libvirt-daemon-system",
    "texlive-latex-base",
    "exim4",
    "r-base-core",
    "docker.io",
)


@pytest.fixture(scope="module")
def machine_lists() -> dict[str, bytes]:
    """The lists that this machine's apt has, by their files."""
    found = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(CREATED_BY)\t$(FILENAME)"],
        capture_output=True,
        check=True,
        text=True,
    )
    paths = [line.partition("\t")[2] for line in found.stdout.splitlines() if line.startswith("Packages\t")]
    return {
        path: subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", path], capture_output=True, check=True).stdout
        for path in paths
        if Path(path).exists()
    }


@pytest.fixture(scope="module")
def machine_universe(machine_lists: dict[str, bytes]) -> Universe:
    lists = [PackageList(raw, architecture="amd64", origin=path) for path, raw in machine_lists.items()]
    return Universe(lists, architecture="amd64")


@pytest.fixture(scope="module")
def simulate(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    """What apt would install on an empty system, without recommended packages."""
    folder = tmp_path_factory.mktemp("apt")
    (folder / "status").touch()
    options = {
        "Dir::State::status": f"{folder}/status",
        # With a cache of its own it does not read the lists anew each time.
        "Dir::Cache::pkgcache": f"{folder}/pkgcache.bin",
        "Dir::Cache::srcpkgcache": f"{folder}/srcpkgcache.bin",
        "APT::Architecture": "amd64",
        "APT::Install-Recommends": "false",
        "APT::Install-Suggests": "false",
    }

    def run(wanted: str) -> dict[str, str]:
        settings = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        found = subprocess.run(
            ["apt-get", "--simulate", *settings, "install", *wanted.split()],
            capture_output=True,
            check=True,
            text=True,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        )
        return dict(re.findall(r"^Inst (\S+) \((\S+) ", found.stdout, re.MULTILINE))

    return run


@pytest.mark.engine
@pytest.mark.parametrize("wanted", _SETS)
def test_packages_resolve_to_what_apt_resolves_them_to(
    wanted: str, machine_universe: Universe, simulate: Callable[[str], dict[str, str]]
) -> None:
    ours = {item.package.name: item.package.version for item in resolve(wanted.split(), machine_universe)}
    assert ours == simulate(wanted)
