"""Alternatives: which of several programs stands for a general one, like awk or editor.

What `update-alternatives --install` of the packages does on an empty system: the one with the highest priority wins,
its link goes to /etc/alternatives, and the choice is recorded so that the program itself can go on with it. Source:
update-alternatives(1), and the form of its files in dpkg, `utils/update-alternatives.c`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from layerkit.packages.debian.system import System

ADMIN: Final = "var/lib/dpkg/alternatives"
LINKS: Final = "etc/alternatives"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """`slaves` are further links that go with it: by name, where the link is and where it leads."""

    link: str
    name: str
    path: str
    priority: int
    slaves: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def parse_install(words: list[str]) -> Alternative | None:
    """The arguments after `update-alternatives`: None for any other of its actions. Raises ValueError.

    A slave that is a variable of unknown value is left out: they are manual pages, as far as anybody has seen.
    """
    words = [word for word in words if word not in {"--quiet", "--force", "--verbose"}]
    if "--install" not in words:
        return None
    at = words.index("--install")
    link, name, path, priority = words[at + 1 : at + 5]
    slaves: dict[str, tuple[str, str]] = {}
    rest = words[at + 5 :]
    if any("$" in word for word in (link, name, path)):
        raise ValueError(link)
    while rest:
        if rest[0].startswith("$"):
            rest = rest[1:]
            continue
        if rest[0] != "--slave":
            raise ValueError(rest[0])
        slaves[rest[2]] = rest[1], rest[3]
        rest = rest[4:]
    return Alternative(link=link, name=name, path=path, priority=int(priority), slaves=slaves)


def install_alternatives(found: list[Alternative], system: System) -> None:
    """Make the links of each name, and its record. Those whose program is not there are left out, as are slaves."""
    names = sorted({item.name for item in found})
    for name in names:
        known = {item.path: item for item in _read_record(system.read(f"{ADMIN}/{name}"), name)}
        known.update({item.path: item for item in found if item.name == name and system.exists(item.path)})
        if not known:
            continue
        best = max(sorted(known.values(), key=lambda item: item.path), key=lambda item: item.priority)
        system.make_directory(LINKS)
        _link(system, best.link, name, best.path)
        for slave, (link, path) in best.slaves.items():
            if system.exists(path):
                _link(system, link, slave, path)
        system.make_directory(ADMIN)
        system.write(f"{ADMIN}/{name}", _encode_record(best.link, list(known.values())))


def _link(system: System, link: str, name: str, path: str) -> None:
    system.link(f"{LINKS}/{name}", path)
    parent = link.rpartition("/")[0]
    if parent and not system.is_directory(parent):
        # A manual page whose folder was left out.
        return
    system.link(link, f"/{LINKS}/{name}")


def _encode_record(link: str, items: list[Alternative]) -> bytes:
    slaves: dict[str, str] = {}
    for item in items:
        for name, (place, _) in item.slaves.items():
            slaves.setdefault(name, place)
    lines = ["auto", link]
    for name, place in sorted(slaves.items()):
        lines += [name, place]
    lines.append("")
    for item in sorted(items, key=lambda item: item.path):
        lines += [item.path, str(item.priority)]
        lines += [item.slaves[name][1] if name in item.slaves else "" for name in sorted(slaves)]
    return ("\n".join(lines) + "\n\n").encode()


def _read_record(content: bytes, name: str) -> list[Alternative]:
    lines = content.decode(errors="replace").split("\n")
    if len(lines) < 3 or lines[0] not in {"auto", "manual"}:
        return []
    link, at = lines[1], 2
    slaves: list[tuple[str, str]] = []
    while at + 1 < len(lines) and lines[at]:
        slaves.append((lines[at], lines[at + 1]))
        at += 2
    at += 1
    items = []
    while at + 1 < len(lines) and lines[at]:
        paths = lines[at + 2 : at + 2 + len(slaves)]
        known = {slave: (place, path) for (slave, place), path in zip(slaves, paths, strict=False) if path}
        priority = int(lines[at + 1]) if lines[at + 1].lstrip("-").isdigit() else 0
        items.append(Alternative(link=link, name=name, path=lines[at], priority=priority, slaves=known))
        at += 2 + len(slaves)
    return items
