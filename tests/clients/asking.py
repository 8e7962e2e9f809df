"""Asking a service in a container that may just have started."""

import socket
import time
import urllib.error
import urllib.request

import pytest


def ask(url: str, content: bytes | None = None) -> str:
    """The answer at `url`, of a POST where there is `content`, as soon as somebody listens there."""
    headers = {"Content-Type": "text/plain; charset=utf-8"} if content is not None else {}
    for _ in range(200):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, content, headers), timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError:
            raise
        except OSError:
            # Nothing tells that a program in a container listens.
            time.sleep(0.05)
    pytest.fail(f"nobody answers at {url}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
