"""nginx in front of a registry, or beside one."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.programs import locate

_CONFIGURATION = """
daemon off;
user root;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{
        listen 127.0.0.1:{port} {options};
        {server}
    }}
}}
"""


@contextmanager
def run_nginx(folder: Path, server: str, options: str = "") -> Iterator[str]:
    """Its address, with `server` in its server block; `options` are those of the listening socket."""
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        path = folder / "nginx.conf"
        path.write_text(_CONFIGURATION.format(folder=folder, port=port, options=options, server=server))
        # It takes the socket over, as from an older nginx: connections wait until it is ready.
        process = subprocess.Popen(
            [locate("nginx"), "-c", path, "-p", folder, "-e", folder / "error.log"],
            pass_fds=[listening.fileno()],
            env={**os.environ, "NGINX": f"{listening.fileno()};"},
        )
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)
