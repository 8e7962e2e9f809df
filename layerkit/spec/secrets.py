"""Secrets: names that look like one, where a value would end in the image for all to read."""

import re
from collections.abc import Iterator
from typing import Final

from layerkit.document.tree import Document, KeyPath, Scalar

# Parts of a name, as people part them: DB_PASSWORD, db-password, dbPassword, org.example.token.
_SECRET: Final = re.compile(
    r"(?:^|_)(?:pass(?:word|wd|phrase)?|pwd|secrets?|tokens?|credentials?|"
    r"(?:api|access|private|secret|auth|encryption|signing|ssh)_?key|apikey)(?:_|$)"
)
_HARMLESS: Final = re.compile(r"(?:^|_)(?:public|file|path|dir|url|uri|name|ttl|length|size|type|id|hash)s?$")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_VARIABLE: Final = re.compile(r"(?<!\$)(?:\$\$)*\$\{([A-Za-z_][A-Za-z0-9_]*)")
_PLACES: Final[tuple[KeyPath, ...]] = (("config",), ("labels",), ("annotations",))


def is_secret_name(name: str) -> bool:
    """Whether people keep a secret under such a name. `TOKEN_FILE` only says where one is."""
    words = re.sub(r"[^a-z0-9]+", "_", _HUMP.sub("_", name).lower()).strip("_")
    return bool(_SECRET.search(words)) and not _HARMLESS.search(words)


def find_secrets(document: Document, typed: Document) -> Iterator[str]:
    """Warnings for what of `document` goes into the image's config or manifest; `typed` still has its variables."""
    for place in _PLACES:
        for path, value in _scalars(document.get(place), place):
            name = str(path[-1])
            used = _VARIABLE.findall(str(typed.get(path) or ""))
            secret = next((variable for variable in used if is_secret_name(variable)), None)
            if secret is None and path[-2] in {"env", "labels", "annotations"} and value and is_secret_name(name):
                secret = name
            if secret is not None and value:
                position = document.locate(path)
                yield f"{position}: `{secret}` looks like a secret, and everybody who has the image can read it"


def _scalars(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, Scalar]]:
    match value:
        case dict():
            for key, child in value.items():
                yield from _scalars(child, (*path, key))
        case list():
            for index, child in enumerate(value):
                yield from _scalars(child, (*path, index))
        case Scalar():
            yield path, value
