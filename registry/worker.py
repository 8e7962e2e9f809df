"""One of several workers: `python -m registry.worker METRICS FD...`, started by `registry.app` alone.

METRICS is the folder for what it counts, or empty. Its configuration comes on standard input.
"""

import asyncio
import socket
import sys
from pathlib import Path

from registry.app import work
from registry.config import Configuration, LogFormat
from registry.logs import configure_logging


def main() -> None:
    configuration = Configuration.from_json(sys.stdin.read())
    configure_logging(as_json=configuration.log_format is LogFormat.JSON, level=configuration.log_level)
    metrics_folder = Path(sys.argv[1]) if sys.argv[1] else None
    asyncio.run(work(configuration, [socket.socket(fileno=int(text)) for text in sys.argv[2:]], metrics_folder))


if __name__ == "__main__":
    main()
