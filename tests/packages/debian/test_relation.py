"""Relations and versions of Debian packages (Debian Policy, 5.6.12 and 7.1)."""

import itertools
import random
import subprocess

import pytest

from layerkit.packages.debian.relation import Relation, parse_relations, parse_version
from layerkit.packages.errors import PackageError

# Ascending; those within a line are equal.
_ASCENDING = (
    ("0~~",),
    ("0~",),
    ("0", "0-0", "0:0", "00"),
    ("0a~",),
    ("0a", "0a0"),
    ("0+",),
    ("0.1",),
    ("1.0~beta1-1",),
    ("1.0~beta1-2",),
    ("1.0-0.1",),
    ("1.0-1~bpo12+1",),
    ("1.0-1",),
    ("1.0-1+b1",),
    ("1.0-1+deb12u1",),
    ("1.0-1.1",),
    ("1.0-10",),
    ("1.0+dfsg-1",),
    ("1.0.1-1",),
    ("1.10",),
    ("1:0.1",),
)


def test_versions_compare_as_policy_says() -> None:
    """ "First the initial part of each string consisting entirely of non-digit characters is determined ..." """
    for lower, higher in itertools.combinations(_ASCENDING, 2):
        for one, other in itertools.product(lower, higher):
            assert parse_version(one) < parse_version(other), (one, other)
    for equal in _ASCENDING:
        assert len({parse_version(text) for text in equal}) == 1


@pytest.mark.engine
def test_versions_compare_as_dpkg_compares_them() -> None:
    chance = random.Random(7)
    for _ in range(300):
        one, other = (
            chance.choice("0123") + "".join(chance.choices("001.~+az-", k=chance.randint(0, 5))) for _ in range(2)
        )
        try:
            ours = parse_version(one) < parse_version(other)
        except PackageError:
            continue
        found = subprocess.run(
            ["dpkg", "--compare-versions", one, "lt", other], capture_output=True, check=False, text=True
        )
        if not found.stderr:
            assert (found.returncode == 0) is ours, (one, other)


@pytest.mark.parametrize("text", ["", "a b", "1:2:3-", "x_y", "1.0\n"])
def test_what_is_no_version_is_named(text: str) -> None:
    with pytest.raises(PackageError, match="no version"):
        parse_version(text)


@pytest.mark.parametrize(
    ("operator", "accepted"),
    [("<<", ["0.9"]), ("<=", ["0.9", "1.0"]), ("=", ["1.0"]), (">=", ["1.0", "1.1"]), (">>", ["1.1"])],
)
def test_a_relation_accepts_versions(operator: str, accepted: list[str]) -> None:
    relation = Relation("a", "", operator, "1.0")
    assert [version for version in ("0.9", "1.0", "1.1") if relation.accepts(version)] == accepted


def test_a_field_is_a_conjunction_of_alternatives() -> None:
    found = parse_relations("libc6 (>= 2.36), debconf (>= 0.5) | debconf-2.0,\n python3:any", "amd64")
    assert found == (
        (Relation("libc6", "", ">=", "2.36"),),
        (Relation("debconf", "", ">=", "0.5"), Relation("debconf-2.0")),
        (Relation("python3", "any"),),
    )
    assert " | ".join(map(str, found[1])) == "debconf (>= 0.5) | debconf-2.0"
    assert str(found[2][0]) == "python3:any"


def test_the_old_operators_mean_or_equal() -> None:
    assert parse_relations("a (< 1), b (> 2)", "amd64") == (
        (Relation("a", "", "<=", "1"),),
        (Relation("b", "", ">=", "2"),),
    )


def test_restrictions_to_other_architectures_leave_a_relation_out() -> None:
    text = "a [amd64 arm64], b [!amd64], c [armhf] | d, e <!nocheck>"
    assert [str(group[0]) for group in parse_relations(text, "amd64")] == ["a", "d", "e"]
    assert [str(group[0]) for group in parse_relations(text, "armhf")] == ["b", "c", "e"]


@pytest.mark.parametrize("text", ["a b", "a (1.0)", "a (>= 1", "(>= 1)", "a:", "ä"])
def test_what_is_no_relation_is_named(text: str) -> None:
    with pytest.raises(PackageError, match="is no relation between packages"):
        parse_relations(text, "amd64")
