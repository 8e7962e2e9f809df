"""The servers that are measured, each with its own folder and port on loopback."""

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

WORKERS = 2

_BARE = """
import asyncio, socket, sys
from aiohttp import web

async def answer(request):
    return web.Response(body=b"x" * 500, content_type="application/json")

async def main():
    listening = socket.create_server(("127.0.0.1", int(sys.argv[1])), reuse_port=True, backlog=1024)
    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    await asyncio.Event().wait()

asyncio.run(main())
"""

_DISTRIBUTION = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: 127.0.0.1:{port}}}
"""

_NGINX = """
daemon off; user root; worker_processes {workers}; pid {root}/nginx.pid; error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/f;
  uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;
  server {{ listen 127.0.0.1:{port}; root {root}/www; default_type application/octet-stream; }}
}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@dataclass(frozen=True)
class Running:
    """`base` is the start of its URLs, `processes` are those that answer."""

    base: str
    processes: tuple[int, ...]


@contextmanager
def serving(port: int, *commands: list[str]) -> Iterator[Running]:
    processes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands
    ]
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        yield Running(f"http://127.0.0.1:{port}", tuple(process.pid for process in processes))
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
            process.wait()


@contextmanager
def run_ours(root: Path) -> Iterator[Running]:
    """With logs and metrics on."""
    port, metrics = free_port(), free_port()
    configuration = root.with_suffix(".yaml")
    configuration.write_text(
        f"root: {root}\nlisten: 127.0.0.1:{port}\nworkers: {WORKERS}\nmetrics: 127.0.0.1:{metrics}\n"
    )
    command = [sys.executable, "-m", "layerkit", "registry", "serve", "--config", str(configuration)]
    with serving(port, command) as running:
        # The sockets are there before the workers are: whoever is answered so often has met all of them.
        for _ in range(16 * WORKERS):
            urllib.request.urlopen(f"{running.base}/healthz").close()
        [parent] = running.processes
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        yield Running(running.base, tuple(map(int, children)))


@contextmanager
def run_distribution(root: Path) -> Iterator[Running]:
    port = free_port()
    configuration = root.with_suffix(".yaml")
    configuration.write_text(_DISTRIBUTION.format(root=root, port=port))
    with serving(port, ["docker-registry", "serve", str(configuration)]) as running:
        yield running


@contextmanager
def run_bare() -> Iterator[Running]:
    port = free_port()
    with serving(port, *([sys.executable, "-c", _BARE, str(port)] for _ in range(WORKERS))) as running:
        time.sleep(1)
        yield running


@contextmanager
def run_nginx(root: Path, large: Path) -> Iterator[Running]:
    port = free_port()
    (root / "www").mkdir(parents=True)
    (root / "www/large").symlink_to(large)
    configuration = root / "nginx.conf"
    configuration.write_text(_NGINX.format(root=root, port=port, workers=WORKERS))
    with serving(port, ["nginx", "-e", "stderr", "-c", str(configuration)]) as running:
        yield running
