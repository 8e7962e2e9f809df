"""Sizes as people read them."""

from typing import Final

_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def format_size(size: float) -> str:
    """Bytes as `999 B`, `1.2 kB`, `34.5 MB`: units of 1000, as docker shows them."""
    if size < 1000:
        return f"{size:.0f} B"
    power = 1
    while size >= 999.95 * 1000**power and power < len(_UNITS) - 1:
        power += 1
    return f"{size / 1000**power:.1f} {_UNITS[power]}"
