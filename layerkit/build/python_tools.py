"""What a build is told of this machine's pip and uv, by whoever reads their settings."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from layerkit.build.fetch import Answer
    from layerkit.packages.python.indexes import Indexes


class PythonTools(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach indexes. `indexes` is what this machine's pip and uv have been told, in the folder of a project too;
    `environment` is for programs that run, `open_url` is given a URL, an offset, a version and who we are."""

    indexes: "Callable[[Path], Indexes]"
    environment: Mapping[str, str]
    open_url: "Callable[[str, int, str, str], AbstractAsyncContextManager[Answer]]"
