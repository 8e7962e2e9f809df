"""What of a lock is looked up anew, and what has changed then."""

import msgspec
import pytest

from layerkit.oci.digest import Digest
from layerkit.oci.platform import parse_platform
from layerkit.packages.lock import NO_LOCK, AptLock, LayerKey, Lock, LockedDeb, LockedURL, LockedWheel, PythonLock
from layerkit.packages.relock import Change, Kind, compare_locks, outdate

A, B = Digest.of(b"a"), Digest.of(b"b")
KEY = LayerKey(image="web", layer="os", platform=parse_platform("linux/amd64"))
DEBIAN = "docker.io/library/debian:trixie"


def deb(name: str, version: str = "1", digest: Digest = A) -> LockedDeb:
    return LockedDeb(name=name, version=version, architecture="all", path=f"pool/{name}.deb", size=1, sha256=digest)


def wheel(name: str, version: str = "1") -> LockedWheel:
    return LockedWheel(name=name, version=version, file=f"{name}-{version}-py3-none-any.whl", size=1, sha256=A)


LOCK = Lock(
    bases={DEBIAN: A, "registry.example.org:5000/base:1": B},
    urls={"https://example.com/a": LockedURL(sha256=A, size=1)},
    apt={KEY: AptLock(request=A, packages=(deb("bash"), deb("curl")))},
    python={KEY: PythonLock(request=A, packages=(wheel("aiohttp"),))},
)


def test_the_same_lock_has_no_changes() -> None:
    assert compare_locks(LOCK, LOCK) == ()
    assert len(compare_locks(NO_LOCK, LOCK)) == len(compare_locks(LOCK, NO_LOCK)) == 6


def test_each_change_is_told_by_version_or_else_by_digest() -> None:
    after = Lock(
        bases={DEBIAN: B},
        urls={"https://example.com/a": LockedURL(sha256=B, size=1)},
        apt={KEY: AptLock(request=B, packages=(deb("bash", "2", B), deb("curl", "1", B), deb("dash")))},
        python={KEY: PythonLock(request=A, packages=(wheel("yarl"),))},
    )
    assert compare_locks(LOCK, after) == (
        Change(kind=Kind.BASE, name=DEBIAN, before=A, after=B),
        Change(kind=Kind.BASE, name="registry.example.org:5000/base:1", before=B, after=""),
        Change(kind=Kind.URL, name="https://example.com/a", before=A, after=B),
        Change(kind=Kind.DEB, name="bash", before="1", after="2", where=KEY),
        Change(kind=Kind.DEB, name="curl", before=A, after=B, where=KEY),
        Change(kind=Kind.DEB, name="dash", before="", after="1", where=KEY),
        Change(kind=Kind.WHEEL, name="aiohttp", before="1", after="", where=KEY),
        Change(kind=Kind.WHEEL, name="yarl", before="", after="1", where=KEY),
    )


@pytest.mark.parametrize("name", [DEBIAN, "docker.io/library/debian", "debian:trixie", "debian"])
def test_a_base_is_named_as_people_call_it(name: str) -> None:
    assert set(outdate(LOCK, [name]).bases) == {"registry.example.org:5000/base:1"}


def test_a_url_goes_and_the_rest_stays() -> None:
    assert outdate(LOCK, ["https://example.com/a"]) == msgspec.structs.replace(LOCK, urls={})


def test_with_a_package_its_layer_is_chosen_anew_and_the_others_are_remembered() -> None:
    outdated = outdate(LOCK, ["curl"])
    assert outdated.apt[KEY].packages == (deb("bash"),)
    assert outdated.apt[KEY].request != A
    assert (outdated.bases, outdated.python) == (LOCK.bases, LOCK.python)


def test_a_name_that_nothing_has_is_refused() -> None:
    with pytest.raises(KeyError, match="wget"):
        outdate(LOCK, ["curl", "wget"])
