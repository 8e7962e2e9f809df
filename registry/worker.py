"""One of several workers: `python -m registry.worker CONFIGURATION FD...`, started by `registry.app` alone."""

import asyncio
import socket
import sys

from registry.app import work
from registry.config import Configuration, LogFormat
from registry.logs import configure_logging


def main() -> None:
    configuration = Configuration.from_json(sys.argv[1])
    configure_logging(as_json=configuration.log_format is LogFormat.JSON, level=configuration.log_level)
    asyncio.run(work(configuration, [socket.socket(fileno=int(text)) for text in sys.argv[2:]]))


if __name__ == "__main__":
    main()
