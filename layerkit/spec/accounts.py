"""Accounts: users, groups and their numbers, as they stand in a spec."""

import re
from typing import Final, NamedTuple

from layerkit.document.problem import InvalidValue
from layerkit.document.scalars import parse_text
from layerkit.oci.digest import shorten
from layerkit.spec.paths import parse_absolute_path

_MAX_ID: Final = 2**32 - 2
_ACCOUNT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,31}")


class Owner(NamedTuple):
    """Numbers or names. `group` is None where `owner:` names the user alone."""

    user: int | str
    group: int | str | None


def parse_owner(value: object) -> Owner:
    text = parse_text(value)
    user, colon, group = text.partition(":")
    return Owner(_parse_principal(user, text), _parse_principal(group, text) if colon else None)


def parse_group(value: object) -> int | str:
    text = parse_text(value)
    if not _is_principal(text):
        raise InvalidValue(f"expected GID or GROUP, found {shorten(text)}", "write it like 1000, or a name")
    return _parse_principal(text, text)


def _is_principal(part: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,10}", part) and int(part) <= _MAX_ID) or bool(_ACCOUNT.fullmatch(part))


def _parse_principal(part: str, whole: str) -> int | str:
    if not _is_principal(part):
        raise InvalidValue(
            f"expected UID, UID:GID or names, found {shorten(whole)}", "write it like 1000:1000 or app:app"
        )
    return int(part) if part.isdecimal() else part


def parse_id(value: object) -> int:
    """A user's or a group's number."""
    text = parse_text(value)
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > _MAX_ID:
        raise InvalidValue(f"expected a number from 0 to {_MAX_ID}, found {shorten(text)}", "write it like 10001")
    return int(text)


def parse_account(value: object) -> str:
    """The name of a user or a group, in POSIX's portable characters (XBD 3.426 and 3.188)."""
    text = parse_text(value)
    if not _ACCOUNT.fullmatch(text):
        raise InvalidValue(
            f"{shorten(text)} cannot be the name of a user or a group: up to 32 letters, digits, `.`, `_` and `-`, "
            "with a letter or `_` at the beginning"
        )
    return text


def parse_account_path(value: object) -> str:
    """An absolute path that fits a field of /etc/passwd."""
    text = parse_absolute_path(value)
    if ":" in text or any(not character.isprintable() for character in text):
        raise InvalidValue(f"path {shorten(text)} does not fit a line of /etc/passwd", "use no colon in it")
    return text


def parse_user(value: object) -> str:
    text = parse_text(value)
    if not re.fullmatch(r"[^\s:]+(?::[^\s:]+)?", text):
        raise InvalidValue(f"expected USER or USER:GROUP, found {shorten(text)}", "write it like 65532:65532")
    return text
