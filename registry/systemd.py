"""What systemd hands to a service and wants to hear: listening sockets, and that it is ready.

Source: sd_listen_fds(3), sd_notify(3).
"""

import os
import socket
from collections.abc import Mapping
from typing import Final

_FIRST: Final = 3


def inherited_sockets(environment: Mapping[str, str]) -> list[socket.socket]:
    """The sockets of socket activation, none where there is none for this process."""
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return []
    return [socket.socket(fileno=_FIRST + n) for n in range(int(environment.get("LISTEN_FDS", "0")))]


def notify(environment: Mapping[str, str], state: str) -> None:
    """Tell the manager, like `READY=1`; nobody is told where nobody asked."""
    path = environment.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.connect(f"\0{path[1:]}" if path.startswith("@") else path)
        manager.send(state.encode())
