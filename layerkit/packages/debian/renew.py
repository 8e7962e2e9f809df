"""Renewing: what goes of a package of the base when a newer version of it comes.

What dpkg does when it upgrades (dpkg(1), "--install"): files that the new version does not have are removed, but for
configuration files and for those that another package has as well.
"""

from collections.abc import Iterable
from typing import Final

from layerkit.layer.errors import LayerError
from layerkit.packages.debian.control import decode, iter_stanzas, parse_stanza
from layerkit.packages.debian.database import FOLDER, STATUS, STATUS_FOLDER
from layerkit.packages.debian.system import System
from layerkit.packages.debian.unpack import OpenDeb

_INFO: Final = f"{FOLDER}/info"


def take_out(debs: Iterable[OpenDeb], system: System) -> list[str]:
    """Hide the files and records of older versions of `debs`, before the new ones come; the answer are warnings."""
    names = {item.name for item in debs}
    status = system.read(STATUS)
    kept: list[bytes] = []
    warnings: list[str] = []
    renewed: dict[str, set[str]] = {}
    for stanza in iter_stanzas(status, origin=f"/{STATUS}"):
        fields = parse_stanza(decode(stanza), origin=f"/{STATUS}")
        name = fields.get("package", "")
        if name not in names:
            kept.append(stanza.strip(b"\n") + b"\n")
            continue
        renewed[name] = {line.split()[0] for line in fields.get("conffiles", "").splitlines() if line.split()}
    if renewed:
        system.write(STATUS, b"\n".join(kept))
    paths: dict[str, list[str]] = {}
    others: set[str] = set()
    for file in system.names(_INFO) if renewed else ():
        name, _, kind = _part(file)
        if kind == "list":
            found = _read_list(system, f"{_INFO}/{file}")
            if name in renewed:
                paths[name] = found
            else:
                others.update(found)
        if name in renewed:
            system.hide(f"{_INFO}/{file}")
    for name in sorted(names):
        checksums = f"{STATUS_FOLDER}/{name}.md5sums"
        if system.exists(f"{STATUS_FOLDER}/{name}"):
            renewed.setdefault(name, set())
            if system.exists(checksums):
                lines = decode(system.read(checksums)).splitlines()
                paths.setdefault(name, [f"/{line[34:].strip()}" for line in lines])
            for record in (f"{STATUS_FOLDER}/{name}", checksums):
                system.hide(record)
    for name, conffiles in sorted(renewed.items()):
        if name not in paths:
            warnings.append(f"package {name} of the base is replaced by a newer one, and what it had stays")
        for path in paths.get(name, ()):
            if path not in conffiles and path not in others:
                system.hide(path)
    return warnings


def _read_list(system: System, path: str) -> list[str]:
    try:
        return decode(system.read(path)).splitlines()
    except LayerError:
        return []


def _part(file: str) -> tuple[str, str, str]:
    """Name, architecture and kind of a file like `libc6:amd64.list`."""
    stem, _, kind = file.rpartition(".")
    name, _, architecture = stem.partition(":")
    return name, architecture, kind
