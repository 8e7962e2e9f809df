"""os-release: which distribution a system is of. Source: os-release(5). Pure."""

from collections.abc import Callable, Mapping
from typing import Final

OS_RELEASE: Final = ("etc/os-release", "usr/lib/os-release")
"""Where it stands; the first that there is has its say."""


def read_os_release(read: Callable[[str], bytes]) -> Mapping[str, str]:
    """The fields, like `ID` and `VERSION_ID`; none for a system that does not say. `read` gives the content of a path,
    nothing for what is not there."""
    for path in OS_RELEASE:
        if content := read(path):
            return parse_os_release(content.decode(errors="replace"))
    return {}


def parse_os_release(text: str) -> dict[str, str]:
    fields = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith("#"):
            fields[name.strip()] = value.strip().strip("\"'")
    return fields
