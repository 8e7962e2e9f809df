"""Surveying: what is in an image, by its own lists of packages, its files, and the lock that it was built from.

Its own layers, those above its base, are read once each: all their files are hashed. Of the layers below only what the
lists and licences of packages need is read. Async; layers are read in threads.
"""

import asyncio
import csv
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha1, sha256
from typing import BinaryIO, Final
from urllib.parse import urlsplit, urlunsplit

import msgspec

from layerkit.layer.entry import EntryType
from layerkit.layer.errors import LayerError
from layerkit.layer.index import IndexedEntry
from layerkit.layer.tree import FileTree
from layerkit.oci.digest import Digest
from layerkit.oci.errors import OCIError
from layerkit.oci.reference import parse_reference
from layerkit.packages.debian.control import Stanza, decode, iter_stanzas, parse_stanza
from layerkit.packages.debian.database import STATUS
from layerkit.packages.errors import PackageError
from layerkit.packages.lock import Lock
from layerkit.packages.osrelease import read_os_release
from layerkit.sbom.bill import Bill, BilledFile, BilledPackage, PackageKind, web_address
from layerkit.sbom.licenses import license_of_copyright, license_of_metadata, normalize
from layerkit.view.contents import iter_contents
from layerkit.view.image import ViewedImage

_APK: Final = "lib/apk/db/installed"
_LARGEST: Final = 32 * 2**20
_LISTS: Final = re.compile(
    r"var/lib/dpkg/(?:status|status\.d/[^/]+|info/[^/]+\.list)\Z|lib/apk/db/installed\Z|(?:etc|usr/lib)/os-release\Z"
    r"|usr/share/doc/[^/]+/copyright\Z|(?:.+/)?[^/]+\.dist-info/(?:METADATA|RECORD)\Z"
)
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~:!_-]{0,254}")
"""A name or a version, of all distributions."""
_MERGED: Final = re.compile(r"(?:bin|sbin|lib\w*)/")


async def survey_image(image: ViewedImage, *, own_layers: int, lock: Lock) -> Bill:
    """What is in an image, of which that many layers are its own. `lock` is what it was built from, of this image and
    platform alone.

    Raises LayerError for an image that is not what it says, and what its repository raises.
    """
    indexes = await image.indexes()
    tree = FileTree.of(indexes)
    first_own = len(indexes) - own_layers
    found = _Found()
    wanted: defaultdict[int, dict[int, _Place]] = defaultdict(dict)
    for path, origin in tree.walk():
        entry = origin.entry
        if entry.type is not EntryType.FILE or entry.sparse:
            continue
        is_list = _LISTS.match(path) is not None and entry.size <= _LARGEST
        is_own = origin.layer >= first_own
        if not is_own and entry.offset in indexes[origin.layer].contents:
            if is_list:
                found.texts[path] = indexes[origin.layer].contents[entry.offset]
        elif is_list or is_own:
            place = wanted[origin.layer].setdefault(entry.offset, _Place(entry))
            place.paths.append(path)
            place.is_kept |= is_list
    for number, places in sorted(wanted.items()):
        layer = image.layers[number]

        def read(file: BinaryIO, media_type: str = layer.media_type, places: dict[int, _Place] = places) -> _Found:
            return _read(file, media_type, places)

        part = await image.read_layer(layer, read)
        found.texts |= part.texts
        if number >= first_own:
            found.files |= part.files
    try:
        return await asyncio.to_thread(_make_bill, image, tree, found, lock)
    except PackageError as error:
        raise LayerError(f"{image.name}: {error}") from error


class _Place(msgspec.Struct):
    """A content of a layer, and the paths that have it."""

    entry: IndexedEntry
    paths: list[str] = msgspec.field(default_factory=list)
    is_kept: bool = False


class _Found(msgspec.Struct):
    texts: dict[str, bytes] = msgspec.field(default_factory=dict)
    files: dict[str, BilledFile] = msgspec.field(default_factory=dict)


def _read(file: BinaryIO, media_type: str, places: Mapping[int, _Place]) -> _Found:
    found = _Found()
    for entry, pieces in iter_contents(file, media_type, [place.entry for place in places.values()]):
        place = places[entry.offset]
        one, other = sha1(usedforsecurity=False), sha256()
        kept = []
        for piece in pieces:
            one.update(piece)
            other.update(piece)
            if place.is_kept:
                kept.append(piece)
        for path in place.paths:
            found.files[path] = BilledFile(path=f"/{path}", sha1=one.hexdigest(), sha256=other.hexdigest())
            if place.is_kept:
                found.texts[path] = b"".join(kept)
    return found


def _make_bill(image: ViewedImage, tree: FileTree, found: _Found, lock: Lock) -> Bill:
    system = _system(found.texts)
    packages: dict[str, BilledPackage] = {}
    unowned = dict(found.files)
    for package, paths in _packages(tree, found.texts, system, lock):
        files = tuple(sorted(unowned.pop(path) for path in paths if path in unowned))
        known = packages.get(package.purl)
        if known is not None:
            files = tuple(sorted((*known.files, *files)))
        packages[package.purl] = msgspec.structs.replace(package, files=files)
    for package in _remote(lock):
        packages.setdefault(package.purl, package)
    return Bill(
        name=image.name,
        digest=image.manifest.digest,
        platform=image.config.platform,
        created=image.config.created or "1970-01-01T00:00:00Z",
        system=system,
        packages=tuple(sorted(packages.values(), key=lambda package: (package.kind, package.name, package.purl))),
        files=tuple(sorted(unowned.values())),
    )


_Owned = tuple[BilledPackage, Iterable[str]]
"""A package, and the paths that it says are its own; not all need be there."""


def _packages(
    tree: FileTree, texts: Mapping[str, bytes], system: tuple[str, str, str] | None, lock: Lock
) -> Iterator[_Owned]:
    debs = {(deb.name, deb.architecture, deb.version): deb.sha256 for apt in lock.apt.values() for deb in apt.packages}
    wheels = {(wheel.name, wheel.version): wheel.sha256 for locked in lock.python.values() for wheel in locked.packages}
    for path, text in sorted(texts.items()):
        if path == STATUS or (path.startswith(f"{STATUS}.d/") and not path.endswith(".md5sums")):
            for stanza in _stanzas(path, text):
                yield _deb(stanza, tree, texts, system, debs)
        elif path == _APK:
            yield from ((package, ()) for package in _apks(text, system))
        elif path.endswith(".dist-info/METADATA"):
            yield from _python(path, text, texts, wheels)


def _stanzas(path: str, text: bytes) -> Iterator[Stanza]:
    """The packages that are installed; of one that cannot be read nothing is known."""
    for raw in iter_stanzas(text, origin=f"/{path}"):
        try:
            stanza = parse_stanza(decode(raw), origin=f"/{path}")
        except PackageError:
            continue
        state = stanza.get("status", "install ok installed").split()
        if _is_named(stanza.get("package", ""), stanza.get("version", "")) and state[-1:] == ["installed"]:
            yield stanza


def _is_named(name: str, version: str) -> bool:
    return _WORD.fullmatch(name) is not None and _WORD.fullmatch(version) is not None


def _deb(
    stanza: Stanza,
    tree: FileTree,
    texts: Mapping[str, bytes],
    system: tuple[str, str, str] | None,
    locked: Mapping[tuple[str, str, str], Digest],
) -> _Owned:
    name, version, architecture = stanza["package"], stanza["version"], stanza.get("architecture", "")
    vendor = system[0] if system else "debian"
    qualifiers = {"arch": architecture, "distro": f"{vendor}-{system[1]}" if system and system[1] else ""}
    package = BilledPackage(
        kind=PackageKind.DEB,
        name=name,
        version=version,
        purl=package_url("deb", vendor, name, version, qualifiers),
        license=license_of_copyright(_copyright(tree, texts, name)),
        supplier=stanza.get("maintainer", ""),
        url=web_address(stanza.get("homepage", "")),
        sha256=locked.get((name, architecture, version)),
    )
    info = "var/lib/dpkg/info"
    text = texts.get(f"{info}/{name}.list") or texts.get(f"{info}/{name}:{architecture}.list") or b""
    sums = texts.get(f"{STATUS}.d/{name}.md5sums", b"")
    listed = [line.lstrip("/") for line in decode(text).splitlines()]
    listed += [line.partition("  ")[2].lstrip("/") for line in decode(sums).splitlines()]
    return package, [_merged(tree, path) for path in listed]


def _copyright(tree: FileTree, texts: Mapping[str, bytes], name: str) -> bytes:
    # Documentation of packages of one source may be a link from one to the other.
    try:
        folder = tree.resolve_directory(f"usr/share/doc/{name}")
    except LayerError:
        return b""
    return texts.get(f"{folder}/copyright", b"")


def _merged(tree: FileTree, path: str) -> str:
    """Where a path of a package is in an image whose /bin and /lib are links into /usr."""
    return f"usr/{path}" if _MERGED.match(path) and tree.lookup(path) is None else path


def _apks(text: bytes, system: tuple[str, str, str] | None) -> Iterator[BilledPackage]:
    vendor = system[0] if system else "alpine"
    for raw in decode(text).split("\n\n"):
        fields = dict(line.split(":", 1) for line in raw.splitlines() if line[1:2] == ":")
        if _is_named(fields.get("P", ""), fields.get("V", "")):
            qualifiers = {"arch": fields.get("A", ""), "distro": f"{vendor}-{system[1]}" if system else ""}
            yield BilledPackage(
                kind=PackageKind.APK,
                name=fields["P"],
                version=fields["V"],
                purl=package_url("apk", vendor, fields["P"], fields["V"], qualifiers),
                license=normalize(fields.get("L", "")),
                supplier=fields.get("m", ""),
                url=web_address(fields.get("U", "")),
            )


def _python(
    path: str, text: bytes, texts: Mapping[str, bytes], locked: Mapping[tuple[str, str], Digest]
) -> Iterator[_Owned]:
    folder = posixpath.dirname(path)
    stated, _, version = posixpath.basename(folder).removesuffix(".dist-info").partition("-")
    name = re.sub(r"[-_.]+", "-", stated).lower()
    if not _is_named(name, version):
        return
    package = BilledPackage(
        kind=PackageKind.PYTHON,
        name=name,
        version=version,
        purl=package_url("pypi", "", name, version),
        license=license_of_metadata(text),
        sha256=locked.get((name, version)),
    )
    yield package, _recorded(posixpath.dirname(folder), texts.get(f"{folder}/RECORD", b""))


def _recorded(site: str, record: bytes) -> Iterator[str]:
    try:
        for row in csv.reader(decode(record).splitlines()):
            if row:
                yield posixpath.normpath(posixpath.join("/", site, row[0])).lstrip("/")
    except csv.Error:
        return


def _remote(lock: Lock) -> Iterator[BilledPackage]:
    """What came from elsewhere as a whole: the bases, and files of the web."""
    for text, digest in lock.bases.items():
        try:
            reference = parse_reference(text)
        except OCIError:
            continue
        name = reference.path.rpartition("/")[2]
        qualifiers = {"repository_url": reference.name, "tag": str(reference.tag or "")}
        yield BilledPackage(
            kind=PackageKind.IMAGE,
            name=name,
            version=digest,
            purl=package_url("oci", "", name, digest, qualifiers),
            sha256=digest if digest.algorithm == "sha256" else None,
        )
    for url, locked in lock.urls.items():
        place = without_query(url)
        name = place.rpartition("/")[2] or urlsplit(url).hostname or url
        qualifiers = {"checksum": locked.sha256, "download_url": place}
        yield BilledPackage(
            kind=PackageKind.FILE,
            name=name,
            version="",
            purl=package_url("generic", "", name, "", qualifiers),
            url=place,
            sha256=locked.sha256,
        )


def without_query(url: str) -> str:
    """A URL as it may be told to others: what follows its `?` may be a key to it."""
    return urlunsplit((*urlsplit(url)[:3], "", ""))


def package_url(kind: str, namespace: str, name: str, version: str, qualifiers: Mapping[str, str] | None = None) -> str:
    from packageurl import PackageURL  # noqa: PLC0415 - only who surveys needs it

    chosen = {key: value for key, value in (qualifiers or {}).items() if value}
    return PackageURL(kind, namespace or None, name, version or None, chosen or None).to_string()


def _system(texts: Mapping[str, bytes]) -> tuple[str, str, str] | None:
    fields = read_os_release(lambda path: texts.get(path, b""))
    name = fields.get("ID")
    return (name, fields.get("VERSION_ID", ""), fields.get("PRETTY_NAME", name)) if name else None
