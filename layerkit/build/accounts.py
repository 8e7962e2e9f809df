"""Accounts: the users and groups of an image, those that a spec adds, and the numbers of the names that own files.

Sources: passwd(5), group(5). Lines that are not understood stay as they are. Pure.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from layerkit.document.problem import InvalidValue
from layerkit.spec.model import Attributes, User

PASSWD: Final = "etc/passwd"  # noqa: S105 - a file that has had no passwords for decades
GROUP: Final = "etc/group"


class Account(msgspec.Struct, frozen=True):
    """A line of /etc/passwd."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


class Accounts(msgspec.Struct, frozen=True, kw_only=True):
    """What /etc/passwd and /etc/group of an image say; of a name that is there twice the first line counts."""

    users: tuple[Account, ...] = ()
    groups: tuple[tuple[str, int], ...] = ()

    @classmethod
    def parse(cls, passwd: bytes, group: bytes) -> "Accounts":
        users = [_parse_user(line) for line in _lines(passwd)]
        groups = [_parse_group(line) for line in _lines(group)]
        return cls(
            users=tuple(user for user in users if user is not None),
            groups=tuple(group for group in groups if group is not None),
        )

    def with_users(self, users: Iterable[User]) -> "Accounts":
        """With those of a spec, which win over others of the same name."""
        users = tuple(users)
        return Accounts(
            users=(*(Account(u.name, u.uid, u.gid, u.home, u.shell) for u in users), *self.users),
            groups=(*((user.group, user.gid) for user in users), *self.groups),
        )

    def resolve(self, attributes: Attributes) -> tuple[int, int]:
        """The UID and GID of an owner. Raises InvalidValue for a name that nobody has."""
        user, group = attributes.user, attributes.group
        if isinstance(user, str):
            found = next((account for account in self.users if account.name == user), None)
            if found is None:
                raise _unknown("user", user, [account.name for account in self.users])
            uid, gid = found.uid, found.gid
        else:
            uid = gid = user
        if isinstance(group, str):
            known = next((number for name, number in self.groups if name == group), None)
            if known is None:
                raise _unknown("group", group, [name for name, _ in self.groups])
            gid = known
        elif group is not None:
            gid = group
        return uid, gid


def add_user(passwd: bytes, group: bytes, user: User) -> tuple[bytes, bytes]:
    """Both files with this user and its group; what is there stays. Raises InvalidValue for names and numbers that are
    taken."""
    known = Accounts.parse(passwd, group)
    return _add_user(passwd, user, known), _add_group(group, user, known)


def add_member(group: bytes, user: User) -> bytes:
    """/etc/group with the user in its further groups. Raises InvalidValue for one that is not there."""
    for name in user.groups:
        group = _add_member(group, name, user)
    return group


def _add_user(passwd: bytes, user: User, known: Accounts) -> bytes:
    wanted = Account(user.name, user.uid, user.gid, user.home, user.shell)
    for account in known.users:
        if account == wanted:
            return passwd
        if account.name == user.name:
            raise InvalidValue(
                f"user {user.name!r} is in the image's /etc/passwd, as {_describe(account)}",
                "leave it out, or choose another name",
            )
        if account.uid == user.uid:
            raise InvalidValue(
                f"user {user.name!r}: the image's user {account.name!r} has the uid {user.uid}", "choose another uid"
            )
    return _append(passwd, f"{user.name}:x:{user.uid}:{user.gid}::{user.home}:{user.shell}")


def _add_group(group: bytes, user: User, known: Accounts) -> bytes:
    for name, gid in known.groups:
        if (name, gid) == (user.group, user.gid):
            return group
        if name == user.group:
            raise InvalidValue(
                f"user {user.name!r}: the image's group {name!r} has the gid {gid}, not {user.gid}",
                f"write `gid: {gid}`, or name another `group:`",
            )
        if gid == user.gid:
            raise InvalidValue(
                f"user {user.name!r}: the gid {gid} is that of the image's group {name!r}",
                f"write `group: {name}`, or choose another gid",
            )
    return _append(group, f"{user.group}:x:{user.gid}:")


def _add_member(group: bytes, name: str, user: User) -> bytes:
    lines = _lines(group)
    for number, line in enumerate(lines):
        fields = line.split(":")
        if fields[0] == name and _parse_group(line) is not None:
            members = [member for member in fields[3].split(",") if member]
            if user.name not in members:
                lines[number] = ":".join([*fields[:3], ",".join([*members, user.name])])
            return "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")
    unknown = _unknown("group", name, [found[0] for found in map(_parse_group, lines) if found])
    raise InvalidValue(f"user {user.name!r}: {unknown.message}", unknown.hint)


def _lines(content: bytes) -> list[str]:
    text = content.decode(errors="surrogateescape")
    return text.removesuffix("\n").split("\n") if text else []


def _append(content: bytes, line: str) -> bytes:
    end = b"" if not content or content.endswith(b"\n") else b"\n"
    return content + end + line.encode() + b"\n"


def _parse_user(line: str) -> Account | None:
    fields = line.split(":")
    if len(fields) != 7 or not fields[0] or not (_is_number(fields[2]) and _is_number(fields[3])):
        return None
    return Account(fields[0], int(fields[2]), int(fields[3]), fields[5], fields[6])


def _parse_group(line: str) -> tuple[str, int] | None:
    fields = line.split(":")
    if len(fields) != 4 or not fields[0] or not _is_number(fields[2]):
        return None
    return fields[0], int(fields[2])


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10


def _describe(account: Account) -> str:
    return f"{account.uid}:{account.gid} with the home {account.home!r} and the shell {account.shell!r}"


def _unknown(kind: str, name: str, known: Sequence[str]) -> InvalidValue:
    from layerkit.document.validate import closest  # noqa: PLC0415 - only a mistake needs it

    meant = closest(name, known)
    hint = f"did you mean {meant!r}?" if meant else f"add it under `users:`, or write its number as the {kind}"
    return InvalidValue(f"no {kind} of the image or of `users:` is named {name!r}", hint)
