"""Actions: what the commands of maintainer scripts do, done to a system that is a value.

Sources: the manual pages of the commands; Debian Policy, 6.5 and 10.7.
"""

from collections.abc import Callable, Mapping
from typing import Final

from layerkit.layer.entry import Entry, EntryType
from layerkit.packages.debian.accounts import Accounts, SystemUser
from layerkit.packages.debian.system import System
from layerkit.spec.capabilities import CAPABILITY, encode_capabilities, parse_capabilities


def parse_words(text: str) -> frozenset[str]:
    """A set of words, as they are kept best: in lines of text."""
    return frozenset(text.split())


# Only look, or speak to a running system, to a package manager at work, or to a person.
HARMLESS: Final = parse_words(
    """
    : . [ [[ test true false set unset exit return shift break continue local export readonly trap wait
    exec cd source eval echo printf cat read hash getent id whoami grep egrep fgrep sed awk cut tr sort uniq
    head tail wc ls find xargs stat readlink realpath dirname basename expr seq date uname hostname md5sum
    sha256sum sha512sum cmp diff mktemp sleep kill su runuser mountpoint getcap capsh logger tty stty env
    nice case select db_version db_get db_set db_fset db_go db_input db_stop db_purge db_capb db_metaget
    db_subst db_title db_unregister db_register db_settitle db_progress db_reset debconf-set-selections
    debconf-communicate dpkg-maintscript-helper dpkg-trigger dpkg dpkg-query dpkg-divert dpkg-realpath
    dpkg-architecture dpkg-reconfigure deb-systemd-helper deb-systemd-invoke systemctl systemd-tmpfiles
    systemd-sysusers systemd-hwdb journalctl udevadm invoke-rc.d update-rc.d service start-stop-daemon initctl
    policy-rc.d telinit runlevel py3compile pypy3compile pypycompile py3clean py3versions pycompile pyclean
    pyversions python3 python3.9 python3.11 python3.13 update-python-modules update-binfmts update-menus
    update-desktop-database update-mime update-mime-database update-icon-caches update-initramfs update-grub
    update-inetd update-xmlcatalog update-catalog update-info-dir install-info mandb ldconfig
    update-ca-certificates update-passwd restorecon setfacl ischroot chcon sysctl rm rmdir deluser delgroup
    userdel groupdel ucfr ucfq emacs-package-install emacsen-common install-docs adequate gpasswd passwd
    dh_installxmlcatalogs aa-status apparmor_parser aa-enabled a2query apache2_invoke phpquery php_invoke
    remove_old_conf rm_conffile mv_conffile ensure_dir dpkg_maintscript pam-auth-update update-shells add-shell
    remove-shell systemd-machine-id-setup apache2_msg db_fget ldconfig.real pidof netstat alias dbus-send
    dbus-uuidgen appstreamcli fc-cache locale-gen update-locale setpriv `
    """
)


_SYMBOLIC: Final[Mapping[str, int]] = {"us": 0o4000, "gs": 0o2000, "t": 0o1000}


def perform(command: str, words: list[str], system: System, accounts: Accounts) -> bool:
    """Whether the command is understood, and done. Raises ValueError, IndexError or KeyError for words that are not."""
    action = _ACTIONS.get(command)
    if action is None:
        return False
    action(words, system, accounts)
    return True


def _options(words: list[str], valued: str) -> tuple[dict[str, str], list[str]]:
    """Options, those named in `valued` with their values, and what else there is."""
    takes = set(valued.split())
    options: dict[str, str] = {}
    rest: list[str] = []
    pending = list(words)
    while pending:
        word = pending.pop(0)
        if word == "--":
            rest += pending
            break
        name, equals, value = word.partition("=")
        if not word.startswith("-") or word == "-":
            rest.append(word)
        elif name in takes:
            options[name] = value if equals else pending.pop(0)
        else:
            options[name] = value
    return options, rest


def _adduser(words: list[str], system: System, accounts: Accounts) -> None:  # noqa: ARG001 - all take the same
    valued = "--home --uid --gid --shell --gecos --comment --ingroup --firstuid --lastuid --conf -h -u -g -s"
    options, rest = _options(words, valued)
    if len(rest) == 2:
        accounts.add_member(*rest)
        return
    if "--group" in options and "--system" in options and not {"--home", "--ingroup"} & options.keys() and not rest:
        return
    shell = options.get("--shell") or ("/usr/sbin/nologin" if "--system" in options else "/bin/bash")
    home = options.get("--home") or "/nonexistent"
    accounts.add_user(
        SystemUser(
            name=rest[0],
            uid=int(options["--uid"]) if "--uid" in options else None,
            gid=int(options["--gid"]) if options.get("--gid", "").isdigit() else None,
            group=options.get("--ingroup")
            or (options.get("--gid") if not options.get("--gid", "0").isdigit() else None),
            has_group="--group" in options,
            home=home,
            shell=shell,
            comment=options.get("--gecos") or options.get("--comment") or "",
            makes_home="--no-create-home" not in options and home not in {"/nonexistent", "/"},
        )
    )


def _addgroup(words: list[str], system: System, accounts: Accounts) -> None:  # noqa: ARG001
    options, rest = _options(words, "--gid -g")
    if len(rest) == 2:
        accounts.add_member(*rest)
        return
    number = options.get("--gid") or options.get("-g")
    accounts.add_group(rest[0], int(number) if number else None)


def _useradd(words: list[str], system: System, accounts: Accounts) -> None:  # noqa: ARG001
    valued = "-c --comment -d --home-dir --home -g --gid -G --groups -s --shell -u --uid -K -p -e -f -b"
    options, rest = _options(words, valued)
    uid = options.get("-u") or options.get("--uid")
    group = options.get("-g") or options.get("--gid")
    accounts.add_user(
        SystemUser(
            name=rest[0],
            uid=int(uid) if uid else None,
            gid=int(group) if group and group.isdigit() else None,
            group=group if group and not group.isdigit() else None,
            has_group=group is None and "-N" not in options,
            home=options.get("-d") or options.get("--home-dir") or options.get("--home") or f"/home/{rest[0]}",
            shell=options.get("-s") or options.get("--shell") or "/bin/sh",
            comment=options.get("-c") or options.get("--comment") or "",
            makes_home=bool({"-m", "--create-home"} & options.keys()),
        )
    )


def _mkdir(words: list[str], system: System, accounts: Accounts) -> None:  # noqa: ARG001
    options, rest = _options(words, "-m --mode")
    given = options.get("-m") or options.get("--mode")
    mode = int(given, 8) if given else 0o777 & ~system.umask
    for path in rest:
        system.make_directory(path, mode=mode)


def _install(words: list[str], system: System, accounts: Accounts) -> None:
    options, rest = _options(words, "-m --mode -o --owner -g --group")
    if not {"-d", "--directory"} & options.keys():
        raise ValueError("a copy")
    mode = int(options.get("-m") or options.get("--mode") or "755", 8)
    uid = accounts.uid_of(options.get("-o") or options.get("--owner") or "0")
    gid = accounts.gid_of(options.get("-g") or options.get("--group") or "0")
    for path in rest:
        system.make_directory(path)
        system.change(path, mode=mode, uid=uid or 0, gid=gid or 0)


def _chmod(words: list[str], system: System, accounts: Accounts) -> None:  # noqa: ARG001
    options, (mode, *paths) = _options(words, "")
    for path in paths:
        for item in system.walk(path) if "-R" in options else (path,):
            found = system.lookup(system.follow(item))
            if found is not None:
                system.change(item, mode=_parse_mode(mode, found.mode))


def _parse_mode(text: str, mode: int) -> int:
    """`0644`, or `u+s`, `g-s`, `+t`: of those that are said by letters scripts need no others."""
    bit = _SYMBOLIC.get(text[:-2] + text[-1:])
    if bit is None:
        return int(text, 8)
    return mode | bit if text[-2] == "+" else mode & ~bit


def _setcap(words: list[str], system: System, accounts: Accounts) -> None:  # noqa: ARG001
    text, *paths = [word for word in words if word != "-q"]
    value = None if text == "-r" else encode_capabilities(parse_capabilities(text))
    for path in paths:
        system.set_xattr(path, CAPABILITY, value)


def _chown(words: list[str], system: System, accounts: Accounts) -> None:
    options, (owner, *paths) = _options(words, "")
    user, _, group = owner.replace(".", ":", 1).partition(":") if ":" not in owner else owner.partition(":")
    uid = accounts.uid_of(user) if user else None
    gid = accounts.gid_of(group) if group else None
    if (user and uid is None) or (group and gid is None):
        raise ValueError(owner)
    for path in paths:
        for item in system.walk(path) if "-R" in options else (path,):
            system.change(item, uid=uid, gid=gid)


def _chgrp(words: list[str], system: System, accounts: Accounts) -> None:
    options, (group, *paths) = _options(words, "")
    _chown([*(["-R"] if "-R" in options else []), f":{group}", *paths], system, accounts)


def _ln(words: list[str], system: System, accounts: Accounts) -> None:  # noqa: ARG001
    options, (target, path) = _options(words, "")
    letters = "".join(name.lstrip("-") for name in options)
    if "s" not in letters:
        raise ValueError("a hardlink")
    if path.endswith("/"):
        path += target.rpartition("/")[2]
    # Scripts ask first whether there is something; a link that is a directory's would get another one inside.
    if system.lookup(path) is None or ("f" in letters and not system.is_directory(path)):
        system.link(path, target)


def _cp(words: list[str], system: System, accounts: Accounts) -> None:  # noqa: ARG001
    _, (source, target) = _options(words, "--sum-file --three-way-merge -S --state-dir -s")
    found = system.lookup(system.follow(source))
    if not isinstance(found, Entry) or found.type is not EntryType.FILE:
        # What is not there, as far as these packages go, is left out by them too.
        return
    if system.is_directory(target):
        target = f"{target.rstrip('/')}/{source.rpartition('/')[2]}"
    if not system.exists(target):
        system.put(found.changed(path=target.strip("/")))


def _mv(words: list[str], system: System, accounts: Accounts) -> None:  # noqa: ARG001
    _, (source, _) = _options(words, "")
    if system.exists(source):
        # What is moved away may be another package's, and the base's stays where it is.
        raise ValueError(source)


def _touch(words: list[str], system: System, accounts: Accounts) -> None:  # noqa: ARG001
    _, paths = _options(words, "-r -d -t")
    for path in paths:
        if not system.exists(path) and system.is_directory(path.rpartition("/")[0] or "/"):
            system.write(path, b"", mode=0o666 & ~system.umask)


def _umask(words: list[str], system: System, accounts: Accounts) -> None:  # noqa: ARG001
    if words:
        system.umask = int(words[0], 8)


def _statoverride(words: list[str], system: System, accounts: Accounts) -> None:
    _, rest = _options(words, "")
    if "--add" not in words or "--list" in words:
        return
    user, group, mode, path = rest
    _chown([f"{user}:{group}", path], system, accounts)
    system.change(path, mode=int(mode, 8))


def _nothing(words: list[str], system: System, accounts: Accounts) -> None:
    """Concerns what a new system has not."""


_ACTIONS: Final[Mapping[str, Callable[[list[str], System, Accounts], None]]] = {
    "adduser": _adduser,
    "addgroup": _addgroup,
    "useradd": _useradd,
    "groupadd": _addgroup,
    "usermod": _nothing,
    "mkdir": _mkdir,
    "install": _install,
    "chmod": _chmod,
    "chown": _chown,
    "setcap": _setcap,
    "chgrp": _chgrp,
    "ln": _ln,
    "cp": _cp,
    "ucf": _cp,
    "mv": _mv,
    "touch": _touch,
    "umask": _umask,
    "dpkg-statoverride": _statoverride,
}
