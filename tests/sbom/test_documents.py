"""Bills as documents: whatever stands in an image, they are made, and are the same again."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from layerkit.oci.digest import Digest
from layerkit.oci.platform import parse_platform
from layerkit.packages.lock import Lock, LockedURL
from layerkit.sbom.bill import Bill, BilledFile, BilledPackage, PackageKind, web_address
from layerkit.sbom.cyclonedx import format_cyclonedx
from layerkit.sbom.licenses import normalize
from layerkit.sbom.provenance import Origin, format_provenance
from layerkit.sbom.spdx import format_spdx
from layerkit.sbom.survey import package_url

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
_files = st.builds(
    BilledFile,
    path=st.binary(min_size=1, max_size=12).map(lambda raw: f"/{raw.decode(errors='surrogateescape')}"),
    sha1=st.just("0" * 40),
    sha256=st.just("0" * 64),
)
_packages = st.builds(
    lambda name, version, **fields: BilledPackage(
        name=name, version=version, purl=package_url("deb", "debian", name, version), **fields
    ),
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.+~:!_-]{0,9}", fullmatch=True),
    version=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.+~:!_-]{0,9}", fullmatch=True),
    kind=st.sampled_from(list(PackageKind)),
    license=(_texts | st.sampled_from(["MIT", "GPL-2.0-or-later AND MIT", "any-OSI", "BSD-3-Clause OR MIT"])).map(
        normalize
    ),
    supplier=_texts | st.just("Some Body <some@example.org>"),
    url=(_texts | st.from_regex(r"https?://\S{1,20}", fullmatch=True)).map(web_address),
    sha256=st.none() | st.just(Digest.of(b"")),
    files=st.lists(_files, max_size=2, unique_by=lambda file: file.path).map(tuple),
)


def _parted(bill: Bill) -> Bill:
    """Each file once: of the first package that says it is its own."""
    seen: set[str] = set()

    def fresh(files: tuple[BilledFile, ...]) -> tuple[BilledFile, ...]:
        return tuple(file for file in files if file.path not in seen and not seen.add(file.path))  # type: ignore[func-returns-value]

    packages = tuple(replace(package, files=fresh(package.files)) for package in bill.packages)
    return replace(bill, packages=packages, files=fresh(bill.files))


_bills = st.builds(
    Bill,
    name=_names,
    digest=st.binary(max_size=2).map(Digest.of),
    platform=st.just(parse_platform("linux/amd64")),
    created=_texts | st.just("2026-11-24T10:00:00.5+02:00"),
    system=st.none() | st.tuples(_names, _texts, _texts),
    packages=st.lists(_packages, max_size=3, unique_by=lambda package: package.purl).map(tuple),
    files=st.lists(_files, max_size=3, unique_by=lambda file: file.path).map(tuple),
).map(_parted)


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(_bills)
def test_whatever_an_image_says_makes_a_document(bill: Bill) -> None:
    for form in (format_spdx, format_cyclonedx):
        raw = form(bill)
        assert form(bill) == raw
        document = json.loads(raw)
        text = json.dumps(document)
        assert all(json.dumps(package.purl)[1:-1] in text for package in bill.packages)


def test_times_are_those_of_the_image() -> None:
    bill = Bill(
        name="x",
        digest=Digest.of(b""),
        platform=parse_platform("linux/amd64"),
        created="2026-11-24T10:00:00.5+02:00",
        system=None,
        packages=(),
        files=(),
    )
    assert json.loads(format_spdx(bill))["creationInfo"]["created"] == "2026-11-24T08:00:00Z"
    assert json.loads(format_cyclonedx(bill))["metadata"]["timestamp"] == "2026-11-24T08:00:00+00:00"


def test_provenance_leaves_the_query_of_a_url_out() -> None:
    lock = Lock(urls={"https://example.org/a.bin?key=secret": LockedURL(sha256=Digest.of(b""), size=0)})
    origin = Origin(spec=Digest.of(b"s"), image="x", platform=parse_platform("linux/amd64"), lock=lock)
    statement = format_provenance("x", Digest.of(b"i"), origin)
    assert b"secret" not in statement
    assert b"https://example.org/a.bin" in statement
