"""The configuration as values."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Where the data is, where to listen, and how many seconds running requests have at the end."""

    root: Path
    host: str = "127.0.0.1"
    port: int = 5000
    drain_seconds: float = 30.0
