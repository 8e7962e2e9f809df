"""Licences: what packages say of theirs, as SPDX expressions where it is clear. Pure.

Sources: the machine-readable form of debian/copyright, version 1.0; the core metadata of Python packages
(`License-Expression` of PEP 639, `License`, and the classifiers); SPDX 2.3, annex D.
"""

import re
from collections.abc import Iterable, Iterator
from email.parser import HeaderParser
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from license_expression import Licensing

_MOST_BYTES: Final = 2**20
_FORMAT: Final = re.compile(r"(?i)\AFormat(?:-Specification)?:\s*\S*copyright-format|\AFormat:.*dep5")
_BLANK: Final = re.compile(r"\n[ \t]*\n")
_FILES: Final = re.compile(r"(?im)^Files:")
_LICENSE: Final = re.compile(r"(?im)^License:[ \t]*(\S[^\n]*)$")
_VERSIONED: Final = re.compile(r"((?:A|L)?GPL|GFDL)-v?(\d)(?:\.(\d+))?(\+)?(-only|-or-later)?", re.IGNORECASE)
_DEBIAN: Final = {
    "expat": "MIT",
    "mit/x11": "X11",
    "x11": "X11",
    "isc": "ISC",
    "apache-2": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "apache2": "Apache-2.0",
    "asl-2.0": "Apache-2.0",
    "artistic": "Artistic-1.0-Perl",
    "artistic-1": "Artistic-1.0",
    "artistic-2": "Artistic-2.0",
    "bsd-2": "BSD-2-Clause",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3": "BSD-3-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "bsd-4-clause": "BSD-4-Clause",
    "cc0": "CC0-1.0",
    "cc0-1.0": "CC0-1.0",
    "mpl-1.1": "MPL-1.1",
    "mpl-2": "MPL-2.0",
    "mpl-2.0": "MPL-2.0",
    "openssl": "OpenSSL",
    "perl": "Artistic-1.0-Perl OR GPL-1.0-or-later",
    "psf-2": "PSF-2.0",
    "psf-2.0": "PSF-2.0",
    "python": "Python-2.0",
    "unicode-dfs-2016": "Unicode-DFS-2016",
    "unlicense": "Unlicense",
    "zlib": "Zlib",
    "zlib/libpng": "Zlib",
    "wtfpl-2": "WTFPL",
}
"""Short names of debian/copyright (its section 7.1) that are spelt otherwise in SPDX's list."""
_CLASSIFIERS: Final = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
}
"""The words after `License :: OSI Approved ::`; "" is one that does not say which."""
_NAMES: Final = {
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache-2.0 license": "Apache-2.0",
    "mit license": "MIT",
    "new bsd": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd-3-clause license": "BSD-3-Clause",
    "bsd 2-clause": "BSD-2-Clause",
    "mpl 2.0": "MPL-2.0",
    "psf": "PSF-2.0",
    "unlicense": "Unlicense",
}


def license_of_copyright(content: bytes) -> str:
    """That of a Debian package, by the file `copyright` of its documentation: all that its parts are under.

    "" where the file is free text, or names a licence that SPDX does not know.
    """
    text = content[:_MOST_BYTES].decode(errors="replace")
    if not _FORMAT.search(text):
        return ""
    # A paragraph of its own, without files, is the text of a licence and puts nothing under it.
    parts = [part for part in _BLANK.split(text) if _FILES.search(part)]
    names = dict.fromkeys(match.strip() for part in parts for match in _LICENSE.findall(part))
    return _join(_translate(name) for name in names)


def license_of_metadata(content: bytes) -> str:
    """That of a Python package, by its METADATA; "" where it is not clear."""
    fields = HeaderParser().parsestr(content[:_MOST_BYTES].decode(errors="replace"))
    expression = normalize(fields.get("License-Expression") or "")
    if expression:
        return expression
    classifiers = [
        c.rpartition("::")[2].strip() for c in fields.get_all("Classifier", []) if c.startswith("License ::")
    ]
    known = [_CLASSIFIERS.get(name, "") for name in classifiers]
    if known and all(known):
        # Whether all of several hold, or any, they do not say.
        return known[0] if len(set(known)) == 1 else ""
    name = " ".join((fields.get("License") or "").split())
    return _NAMES.get(name.lower(), "") or normalize(name)


def normalize(expression: str) -> str:
    """An SPDX expression in its usual spelling, "" for what is none."""
    if not expression or len(expression) > 1000:
        return ""
    from license_expression import ExpressionError  # noqa: PLC0415 - 0.1 s

    try:
        parsed = _licensing().parse(expression, validate=True, strict=True)
    except (ExpressionError, IndexError, RecursionError):
        # Of `()` the parser takes what is not there.
        return ""
    text = parsed.render() if parsed is not None else ""
    return "" if "LicenseRef" in text else str(text)


@cache
def _licensing() -> "Licensing":
    from license_expression import get_spdx_licensing  # noqa: PLC0415 - see above

    return get_spdx_licensing()


def _translate(text: str) -> str:
    """The licence of one paragraph. A comma before an `and` binds less than all else (its section 7.2)."""
    groups = []
    for group in re.split(r"(?i),\s+and\s+", text):
        words = re.split(r"(?i)\s+(and|or)\s+", group)
        names = [_short_name(word.strip()) for word in words[::2]]
        if not all(names) or "," in group:
            return ""
        names = [f"({name})" if " " in name else name for name in names]
        groups.append(" ".join(f"{name} {word.upper()}" for name, word in zip(names, [*words[1::2], ""], strict=True)))
    return normalize(" AND ".join(f"({group.strip()})" for group in groups))


def _short_name(name: str) -> str:
    name, _, exception = name.partition(" with ")
    if exception:
        # `GPL-2+ with OpenSSL exception`: Debian's exceptions have other names than SPDX's.
        return ""
    known = _DEBIAN.get(name.lower().removesuffix("-license"), "")
    if known:
        return known
    versioned = _VERSIONED.fullmatch(name)
    if versioned is None:
        return normalize(name)
    family, major, minor = versioned[1].upper(), versioned[2], versioned[3] or "0"
    is_later = bool(versioned[4]) or (versioned[5] or "").lower() == "-or-later"
    return f"{family}-{major}.{minor}-{'or-later' if is_later else 'only'}"


def _join(expressions: Iterable[str]) -> str:
    """All of them; "" where one of them is."""
    found = list(dict.fromkeys(expressions))
    if not found or not all(found):
        return ""
    if len(found) == 1:
        return found[0]
    return normalize(" AND ".join(f"({each})" if " OR " in each else each for each in _parts(sorted(found))))


def _parts(expressions: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for each in expressions:
        for part in [each] if " OR " in each else each.split(" AND "):
            if part not in seen:
                seen.add(part)
                yield part
