"""dpkg's database: what is installed, as dpkg, apt and scanners of images read it.

Where the image has dpkg, or its database, that is written on; else each package is a file of `status.d`, as in images
without a package manager. Sources: dpkg(1), "FILES"; deb-triggers(5); distroless, PACKAGE_METADATA.md.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from layerkit.layer.entry import ROOT, EntryType
from layerkit.packages.debian.control import decode
from layerkit.packages.debian.package import Package
from layerkit.packages.debian.system import Root, System
from layerkit.packages.debian.universe import read_status
from layerkit.packages.debian.unpack import Excluded, OpenDeb

FOLDER: Final = "var/lib/dpkg"
STATUS: Final = f"{FOLDER}/status"
STATUS_FOLDER: Final = f"{FOLDER}/status.d"
_EXTENDED: Final = "var/lib/apt/extended_states"
_SCRIPTS: Final = frozenset({"preinst", "postinst", "prerm", "postrm", "config"})
_INFO: Final = ("conffiles", "md5sums", "shlibs", "symbols", "templates", "triggers", *sorted(_SCRIPTS))


def record(debs: Iterable[OpenDeb], system: System, reasons: Mapping[str, str], excluded: Excluded) -> None:
    """Enter the packages. `reasons` are the packages for whose sake others came, "" for what was asked for. What is
    `excluded` is not in the lists of their files: nobody has to miss it."""
    debs = sorted(debs, key=lambda item: item.name)
    if system.exists("usr/bin/dpkg") or system.exists(STATUS):
        _record_for_dpkg(debs, system, reasons, excluded)
    else:
        for item in debs:
            system.make_directory(STATUS_FOLDER)
            control = item.deb.control["control"].rstrip(b"\n") + b"\n"
            system.write(f"{STATUS_FOLDER}/{item.name}", control)
            if "md5sums" in item.deb.control:
                system.write(f"{STATUS_FOLDER}/{item.name}.md5sums", _checksums(item, excluded))


def read_installed(root: Root, *, architecture: str) -> Iterator[Package]:
    """The packages that a system has, by dpkg's own list and by the files of `status.d`. Raises PackageError."""
    paths = [STATUS]
    paths += [
        entry.path
        for entry in root.tree.children(root.tree.resolve_directory(STATUS_FOLDER))
        if not entry.path.endswith(".md5sums")
    ]
    for path in paths:
        yield from read_status(root.read(path), architecture=architecture, origin=f"/{path}")


def _checksums(item: OpenDeb, excluded: Excluded) -> bytes:
    lines = item.deb.control["md5sums"].splitlines(keepends=True)
    paths = (decode(line[34:]).strip() for line in lines)
    return b"".join(line for line, path in zip(lines, paths, strict=True) if not excluded.has(path, is_folder=False))


def _record_for_dpkg(debs: list[OpenDeb], system: System, reasons: Mapping[str, str], excluded: Excluded) -> None:
    for folder in ("info", "updates", "triggers", "alternatives", "parts"):
        system.make_directory(f"{FOLDER}/{folder}")
    for name in ("available", "diversions", "statoverride", "triggers/Lock", "triggers/Unincorp"):
        if not system.exists(f"{FOLDER}/{name}"):
            system.write(f"{FOLDER}/{name}", b"", mode=0o600 if name == "triggers/Lock" else 0o644)
    if not system.exists(f"{FOLDER}/info/format"):
        system.write(f"{FOLDER}/info/format", b"1\n")
    status = system.read(STATUS)
    parts = [status.rstrip(b"\n") + b"\n"] if status.strip() else []
    for item in debs:
        prefix = f"{FOLDER}/info/{_file_name(item)}"
        kept = (
            entry.path
            for entry in item.index.entries
            if entry.path != ROOT and not excluded.has(entry.path, is_folder=entry.type is EntryType.DIRECTORY)
        )
        lines = ["/.", *(f"/{path}" for path in kept)]
        system.write(f"{prefix}.list", "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"))
        for name in _INFO:
            if name in item.deb.control:
                mode = 0o755 if name in _SCRIPTS else 0o644
                content = _checksums(item, excluded) if name == "md5sums" else item.deb.control[name]
                system.write(f"{prefix}.{name}", content, mode=mode)
        _record_triggers(item, system)
        parts.append(_stanza(item, system))
    system.write(STATUS, b"\n".join(parts))
    _record_reasons(debs, system, reasons)


def _stanza(item: OpenDeb, system: System) -> bytes:
    """The control file, with the state and the checksums of the configuration files as they were shipped."""
    lines = decode(item.deb.control["control"]).rstrip("\n").split("\n")
    first = next(n for n, line in enumerate(lines) if line.lower().startswith("package:"))
    lines.insert(first + 1, "Status: install ok installed")
    conffiles = [
        line.split()[-1] for line in decode(item.deb.control.get("conffiles", b"")).splitlines() if line.split()
    ]
    if conffiles:
        where = next((n for n, line in enumerate(lines) if line.lower().startswith("description:")), len(lines))
        found = (f" {path} {_md5(system.read(path))}" for path in conffiles if system.exists(path))
        lines[where:where] = ["Conffiles:", *found]
    return ("\n".join(lines) + "\n").encode()


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _file_name(item: OpenDeb) -> str:
    architecture = item.stanza["architecture"]
    return f"{item.name}:{architecture}" if item.stanza.get("multi-arch") == "same" else item.name


def _record_triggers(item: OpenDeb, system: System) -> None:
    """Who wants to hear of what: the files in which dpkg looks that up."""
    qualified = _file_name(item)
    for line in decode(item.deb.control.get("triggers", b"")).splitlines():
        words = line.partition("#")[0].split()
        if len(words) != 2 or not words[0].startswith("interest"):
            continue
        ending = "/noawait" if words[0] == "interest-noawait" else ""
        if words[1].startswith("/"):
            path, entry = f"{FOLDER}/triggers/File", f"{words[1]} {qualified}{ending}\n"
        else:
            path, entry = f"{FOLDER}/triggers/{words[1]}", f"{qualified}{ending}\n"
        known = system.read(path).decode()
        if entry not in known.splitlines(keepends=True):
            system.write(path, (known + entry).encode())


def _record_reasons(debs: list[OpenDeb], system: System, reasons: Mapping[str, str]) -> None:
    """Which packages apt may remove once nobody needs them."""
    if not system.exists("usr/bin/apt-get"):
        return
    known = system.read(_EXTENDED).decode()
    parts = [known.rstrip("\n") + "\n"] if known.strip() else []
    for item in debs:
        if reasons.get(item.name):
            architecture = item.stanza["architecture"]
            parts.append(f"Package: {item.name}\nArchitecture: {architecture}\nAuto-Installed: 1\n")
    system.make_directory(_EXTENDED.rpartition("/")[0])
    system.write(_EXTENDED, "\n".join(parts).encode())
