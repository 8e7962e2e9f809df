"""Headers of every answer."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

API_VERSION: Final = {"Docker-Distribution-Api-Version": "registry/2.0"}
"""Some clients take a host without it for no registry."""

COMMON_HEADERS: Final = web.RequestKey("common_headers", tuple[tuple[str, str], ...])
"""What a handler that sends its answer itself has to put on it. All others get it put on theirs."""


def common_headers(warnings: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """With a warning for each of the texts, in the form in which clients show it (distribution-spec 1.2)."""
    return (*API_VERSION.items(), *(("Warning", f'299 - "{_escape(text)}"') for text in warnings))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
