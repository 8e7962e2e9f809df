"""Link headers: where the next page of a list is.

Source: RFC 8288; distribution-spec, "Listing Tags".
"""

import re
from typing import Final

_PARAMETER: Final = r";\s*([^\s;,=\"<>]*)(?:\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;,\"]*)))?\s*"
_LINK: Final = re.compile(rf"<([^<>]*)>\s*((?:{_PARAMETER})*)")
_PARAMETERS: Final = re.compile(_PARAMETER)


def format_next(target: str) -> str:
    """The header's value that says: the list goes on at `target`, a URL path with its query."""
    return f'<{target}>; rel="next"'


def parse_next(header: str) -> str | None:
    """The target whose relation is `next`, a URL or a path, or None."""
    for link in _LINK.finditer(header):
        relations = [quoted or token for name, quoted, token in _PARAMETERS.findall(link[2]) if name.lower() == "rel"]
        # "Occurrences after the first MUST be ignored" (RFC 8288, section 3.3).
        if relations and "next" in relations[0].lower().split():
            return link[1]
    return None
