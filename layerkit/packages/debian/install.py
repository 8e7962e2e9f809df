"""Installing: packages and a file system in, the entries of a layer out.

The way of dpkg: files, then what the scripts would have done, then the database; the cache of the loader and the
certificates come last, because they are made of what all packages brought. Blocking.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from layerkit.layer.entry import Entry, EntryType
from layerkit.layer.errors import LayerError
from layerkit.packages.debian.accounts import GROUP, PASSWD, Accounts, parse_sysusers
from layerkit.packages.debian.alternatives import install_alternatives
from layerkit.packages.debian.architecture import TRIPLETS
from layerkit.packages.debian.certificates import SHARED, install_certificates
from layerkit.packages.debian.database import record
from layerkit.packages.debian.ldcache import Cached, encode_cache, is_library_name, parse_cache, parse_library
from layerkit.packages.debian.pam import PROFILES, TEMPLATES, install_pam
from layerkit.packages.debian.relation import parse_relations
from layerkit.packages.debian.renew import take_out
from layerkit.packages.debian.scripts import Effects, configure
from layerkit.packages.debian.system import Root, System
from layerkit.packages.debian.unpack import Excluded, IsExcluded, OpenDeb, unpack
from layerkit.packages.errors import PackageError

VERSION: Final = 9
"""Of what comes of installing packages, which builds remember: who changes that counts it up."""

LD_CACHE: Final = "etc/ld.so.cache"
_SHELLS: Final = "usr/share/debianutils/shells"
_LD_CONF: Final = "etc/ld.so.conf"
_TRUSTED: Final = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")
_DIVERSION: Final = re.compile(rb"^(?!\s*#)(?!.*(?:--remove|--list|--truename)).*\bdpkg-divert\b.*--.*", re.MULTILINE)
_OF_MERGING: Final = b".usr-is-merged"
"""In the names to which the packages of essential programs divert what a merged /usr would hide."""
_LARGEST_LIBRARY: Final = 512 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """`origins` are the packages, with their versions, that the paths of the entries are from.

    `unknown` are statements of maintainer scripts that are not understood, by package: nobody has run them. `doubts`
    are other things that are not done and may be missed.
    """

    entries: tuple[Entry, ...]
    origins: Mapping[str, str]
    warnings: tuple[str, ...]
    doubts: tuple[str, ...]
    unknown: Mapping[str, tuple[str, ...]]


def _keep(path: str, is_folder: bool) -> bool:  # noqa: ARG001 - the shape of a filter
    return False


def install(
    debs: Sequence[OpenDeb],
    base: Root,
    *,
    architecture: str,
    reasons: Mapping[str, str],
    is_excluded: IsExcluded = _keep,
) -> Installed:
    """`architecture` is Debian's name; `reasons` as of `database.record`; `is_excluded` says which paths of packages
    are left out. Raises PackageError."""
    system = System(base)
    excluded = Excluded(is_excluded)
    try:
        renewed = take_out(debs, system)
        owners, warnings = unpack(debs, system, architecture=architecture, excluded=excluded)
        warnings = [*renewed, *warnings]
        accounts = Accounts(system)
        _make_basics(system, accounts)
        for item in sorted(debs, key=lambda item: item.name):
            for path in item.paths:
                if path.startswith("usr/lib/sysusers.d/") and path.endswith(".conf"):
                    parse_sysusers(system.read(path).decode(errors="replace"), accounts)
        effects = Effects()
        for item in _in_order(debs):
            if script := item.deb.control.get("postinst"):
                configure(item.name, script, system, accounts, effects)
        install_alternatives(effects.alternatives, system)
        if any(path.startswith(f"{SHARED}/") for item in debs for path in item.paths):
            install_certificates(system)
        _add_shells(debs, system)
        if any(path.startswith((f"{PROFILES}/", f"{TEMPLATES}/")) for item in debs for path in item.paths):
            install_pam(system)
        record(debs, system, reasons, excluded)
        _make_loader_cache(system, architecture)
    except LayerError as error:
        raise PackageError(str(error)) from error
    doubts = [
        f"package {item.name} diverts files of other packages, which is not done here"
        for item in debs
        if _diverts(item.deb.control.get("preinst", b""))
    ]
    unknown = {name: tuple(dict.fromkeys(statements)) for name, statements in effects.unknown.items()}
    entries = system.entries
    origins = {
        entry.path: f"{owners[entry.path].name} {owners[entry.path].stanza['version']}"
        for entry in entries
        if entry.path in owners
    }
    return Installed(entries=entries, origins=origins, warnings=tuple(warnings), doubts=tuple(doubts), unknown=unknown)


def _diverts(script: bytes) -> bool:
    lines = _DIVERSION.findall(script.replace(b"\\\n", b" "))
    return any(_OF_MERGING not in line for line in lines)


def _in_order(debs: Sequence[OpenDeb]) -> list[OpenDeb]:
    """As they would be configured: each after what it depends upon, as far as they do not do so in turn."""
    by_name = {item.name: item for item in debs}
    for item in debs:
        for group in parse_relations(item.stanza.get("provides", ""), item.stanza["architecture"]):
            by_name.setdefault(group[0].name, item)
    ordered: dict[str, OpenDeb] = {}
    seen: set[str] = set()
    for first in sorted(debs, key=lambda item: item.name):
        waiting = [(first, False)]
        while waiting:
            item, is_done = waiting.pop()
            if is_done:
                ordered.setdefault(item.name, item)
                continue
            if item.name in seen:
                continue
            seen.add(item.name)
            waiting.append((item, True))
            stanza = item.stanza
            text = ", ".join(stanza[field] for field in ("pre-depends", "depends") if stanza.get(field))
            groups = parse_relations(text, stanza["architecture"])
            names = sorted({relation.name for group in groups for relation in group} & by_name.keys(), reverse=True)
            waiting += [(by_name[name], False) for name in names]
    return list(ordered.values())


def _make_basics(system: System, accounts: Accounts) -> None:
    """What the packages make that are configured before all others: base-passwd, base-files, passwd, libc-bin, dash and
    tzdata, where they are among those that are new."""
    masters = "usr/share/base-passwd"
    for target, master in ((PASSWD, "passwd.master"), (GROUP, "group.master")):
        if not system.exists(target) and system.is_new(f"{masters}/{master}"):
            system.make_directory("etc")
            system.write(target, system.read(f"{masters}/{master}"))
    if system.is_new("usr/sbin/shadowconfig") and system.exists(PASSWD):
        accounts.make_shadow()
    if system.is_new("usr/share/base-files"):
        _make_base_files(system, accounts)
    if system.is_new("usr/share/libc-bin/nsswitch.conf") and not system.exists("etc/nsswitch.conf"):
        # Without it names are asked of DNS before /etc/hosts is read.
        system.write("etc/nsswitch.conf", system.read("usr/share/libc-bin/nsswitch.conf"))
    if system.is_new("usr/bin/dash") and not system.exists("usr/bin/sh"):
        system.link("usr/bin/sh", "dash")
    if system.is_new("usr/share/zoneinfo/Etc/UTC") and system.lookup("etc/localtime") is None:
        system.link("etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
        system.write("etc/timezone", b"Etc/UTC\n")


def _make_base_files(system: System, accounts: Accounts) -> None:
    defaults = {
        "dot.profile": "root/.profile",
        "dot.bashrc": "root/.bashrc",
        "profile": "etc/profile",
        "motd": "etc/motd",
    }
    for name, target in defaults.items():
        content = system.read(f"usr/share/base-files/{name}")
        if content and not system.exists(target):
            system.make_directory(target.rpartition("/")[0])
            system.write(target, content)
    for path in ("mnt", "srv", "opt", "etc/opt", "var/opt", "media"):
        system.make_directory(path)
    for path in ("share", "share/man", "bin", "games", "lib", "include", "sbin", "src", "etc"):
        system.make_directory(f"usr/local/{path}")
    system.make_directory("var/mail", mode=0o2775, gid=accounts.gid_of("mail") or 0)
    system.make_directory("run/lock", mode=0o1777)
    for path, target in (("var/spool/mail", "../mail"), ("usr/local/man", "share/man")):
        if system.lookup(path) is None:
            system.make_directory(path.rpartition("/")[0])
            system.link(path, target)
    for path, target in (("var/run", "/run"), ("var/lock", "/run/lock")):
        found = system.lookup(path)
        if found is None or (found.type is EntryType.DIRECTORY and not system.names(path)):
            system.remove(path)
            system.link(path, target)
    for name, group, mode in (("wtmp", "utmp", 0o664), ("btmp", "utmp", 0o660), ("lastlog", "utmp", 0o664)):
        path = f"var/log/{name}"
        if system.is_directory("var/log") and not system.exists(path):
            system.write(path, b"", mode=mode, gid=accounts.gid_of(group) or 0)
    if system.exists("etc/dpkg/origins/debian") and system.lookup("etc/dpkg/origins/default") is None:
        system.link("etc/dpkg/origins/default", "debian")


def _add_shells(debs: Sequence[OpenDeb], system: System) -> None:
    """What `update-shells` does: shells of packages are such as one may log in with, by each name that they have."""
    if not any(path.startswith(_SHELLS) for item in debs for path in item.paths):
        return
    lines: list[str] = []
    for path in (_SHELLS, *(f"{_SHELLS}.d/{name}" for name in system.names(f"{_SHELLS}.d"))):
        for line in system.read(path).decode(errors="replace").splitlines():
            shell = line.partition("#")[0].strip()
            if shell:
                lines += [shell, f"/{system.resolve(shell)}"]
    shells = list(dict.fromkeys(lines))
    old = (system.read("etc/shells") or system.read(_SHELLS)).decode(errors="replace").splitlines()
    system.make_directory("var/lib")
    system.write("etc/shells", "".join(f"{line}\n" for line in dict.fromkeys([*old, *shells])).encode())
    system.write("var/lib/shells.state", "".join(f"{line}\n" for line in shells).encode())


def _make_loader_cache(system: System, architecture: str) -> None:
    """What `ldconfig` does: links by SONAME where they are missing, and the cache."""
    if not system.exists(_LD_CONF) and not system.read(LD_CACHE):
        return
    triplet = TRIPLETS.get(architecture)
    trusted = (*(f"{folder}/{triplet}" for folder in _TRUSTED[:2] if triplet), *_TRUSTED)
    folders = dict.fromkeys([*_read_conf(system, _LD_CONF), *trusted])
    known = (item for item in reversed(parse_cache(system.read(LD_CACHE))) if system.exists(item.path))
    cached = {(item.name, item.flags): item for item in known}
    seen: set[str] = set()
    for folder in folders:
        real = system.follow(folder)
        if real in seen:
            continue
        seen.add(real)
        for path in sorted(system.walk(real)):
            name = path.rpartition("/")[2]
            if path.rpartition("/")[0] != real or not is_library_name(name):
                continue
            library = _read_library(system, path)
            if library is None:
                continue
            soname, flags = library
            if soname and soname != name and system.lookup(f"{real}/{soname}") is None:
                system.link(f"{real}/{soname}", name)
            known_as = _cached_name(system, path, soname)
            cached.setdefault((known_as, flags), Cached(known_as, flags, f"{folder}/{known_as}"))
    if cached:
        system.write(LD_CACHE, encode_cache(cached.values()))


def _cached_name(system: System, path: str, soname: str) -> str:
    """By which name ldconfig enters what is at `path`: its own only where no library stands behind it by another."""
    name = path.rpartition("/")[2]
    found = system.lookup(path)
    if found is None or found.type is not EntryType.SYMLINK:
        return soname or name
    target = system.follow(path).rpartition("/")[2]
    is_for_linking = name.endswith(".so") and soname.startswith(name)
    return name if target == soname or is_for_linking else soname or name


def _read_conf(system: System, path: str) -> list[str]:
    """The folders of ld.so.conf, and of the files that it includes."""
    folders: list[str] = []
    for line in system.read(path).decode(errors="replace").splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        if words[0] == "include" and len(words) > 1:
            folder, _, pattern = words[1].rpartition("/")
            ending = pattern.removeprefix("*")
            for name in system.names(folder):
                if name.endswith(ending):
                    folders += _read_conf(system, f"{folder}/{name}")
        elif words[0].startswith("/"):
            folders.append(words[0])
    return folders


def _read_library(system: System, path: str) -> tuple[str, int] | None:
    found = system.lookup(system.follow(path))
    if not isinstance(found, Entry) or found.source is None or found.size > _LARGEST_LIBRARY:
        return None
    head = next(iter(found.source.pieces(4)), b"")
    if head != b"\x7fELF":
        return None
    library = parse_library(b"".join(found.source.pieces(2**20)))
    return None if library is None else (library.soname, library.flags)
