"""The program: what tells this version of layerkit from others, whose work is not to be taken for its own. Blocking."""

import os
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path

import layerkit


@cache
def stamp_of_program() -> str:
    """What tells this version of layerkit from others, one that is being worked on too."""
    rows = [layerkit.__version__, *sorted(_look_at(str(Path(layerkit.__file__).parent)))]
    return sha256("\n".join(rows).encode(errors="surrogateescape")).hexdigest()


def _look_at(folder: str) -> Iterator[str]:
    """What each file of the program looks like."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                status = entry.stat()
                yield f"{entry.path} {status.st_size} {status.st_mtime_ns}"
            elif entry.is_dir() and entry.name != "__pycache__":
                yield from _look_at(entry.path)
