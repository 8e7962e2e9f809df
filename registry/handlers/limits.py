"""How many requests are answered at the same time in this process. Who comes too many is told to come again."""

from dataclasses import dataclass
from typing import Final

from layerkit.oci.errors import Unavailable
from layerkit.oci.request import AppendUpload, CommitUpload, Request, StartUpload

_UPLOADS: Final = (StartUpload, AppendUpload, CommitUpload)


@dataclass(frozen=True, slots=True)
class Limits:
    """None is without a limit. `uploads` are of those requests that may have a blob as their body."""

    requests: int | None = None
    uploads: int | None = None


class Crowd:
    """Those that are being answered."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._requests = 0
        self._uploads = 0

    @property
    def is_empty(self) -> bool:
        return not self._requests

    def enter(self, call: Request | None) -> None:
        self._requests += 1
        self._uploads += isinstance(call, _UPLOADS)

    def leave(self, call: Request | None) -> None:
        self._requests -= 1
        self._uploads -= isinstance(call, _UPLOADS)

    def check(self, call: Request) -> None:
        """Raises Unavailable where `call`, which has entered, is one too many."""
        limits = self._limits
        if limits.requests is not None and self._requests > limits.requests:
            raise Unavailable(f"more than {limits.requests} requests at once: try again")
        if limits.uploads is not None and self._uploads > limits.uploads and isinstance(call, _UPLOADS):
            raise Unavailable(f"more than {limits.uploads} uploads at once: try again")
