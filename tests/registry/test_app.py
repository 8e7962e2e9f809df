"""The program: it starts, says so, serves with one or several workers, drains, restarts, and refuses what it must."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import aiohttp
import pytest

from layerkit.oci.digest import Digest
from registry.app import StartError, open_registry, run_server
from registry.config import Address, Configuration
from tests.programs import RegistryProcess, run_registry


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return int(response.status), response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def put_blob(address: str, content: bytes, repository: str = "example") -> Digest:
    """Push a blob in one request."""
    digest = Digest.of(content)
    request = urllib.request.Request(
        f"http://{address}/v2/{repository}/blobs/uploads/?digest={digest}", data=content, method="POST"
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 201
    return digest


class TestStarting:
    def test_it_says_where_it_listens_and_serves_at_once(self, registry_process: RegistryProcess) -> None:
        assert get(f"http://{registry_process.address}/v2/") == (200, b"{}")

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_it_takes_more_connections_than_the_usual_limit_of_files(self, tmp_path: Path, workers: str) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.ExitStack() as stack:
            resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
            try:
                running = stack.enter_context(run_registry(tmp_path / "registry", "--workers", workers))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            host, port = running.address.rsplit(":", 1)
            for _ in range(300):
                stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
            for _ in range(4):
                assert get(f"http://{running.address}/v2/")[0] == 200

    def test_sigterm_ends_it_well(self, registry_process: RegistryProcess) -> None:
        assert registry_process.stop() == 0

    def test_a_second_one_on_the_same_folder_is_refused(self, registry_process: RegistryProcess) -> None:
        done = subprocess.run(
            [*(sys.executable, "-m", "layerkit", "registry", "serve"), "--root", registry_process.root],
            capture_output=True,
            check=False,
            text=True,
            timeout=30,
        )
        assert done.returncode == 1
        assert done.stderr == (
            f"error: another registry is running on {registry_process.root}: stop it, or give this one another --root\n"
        )

    def test_a_taken_port_is_one_clear_line(self, registry_process: RegistryProcess, tmp_path: Path) -> None:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "layerkit", "registry", "serve"),
                *("--root", tmp_path / "other", "--listen", registry_process.address),
            ],
            capture_output=True,
            check=False,
            text=True,
            timeout=30,
        )
        assert (done.returncode, done.stderr) == (
            1,
            f"error: cannot listen on {registry_process.address}: "
            "address already in use (choose another with --listen)\n",
        )

    async def test_a_folder_of_something_else_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("precious")
        with pytest.raises(StartError, match=r"is no data folder of a registry: it holds 'thesis\.txt'"):
            async with open_registry(tmp_path):
                pass
        assert sorted(path.name for path in tmp_path.iterdir()) == ["registry.lock", "thesis.txt"]

    async def test_a_first_start_that_was_cut_off_is_made_good(self, tmp_path: Path) -> None:
        (tmp_path / "registry.lock").touch()
        (tmp_path / ".version.new").write_text("")
        async with open_registry(tmp_path):
            assert (tmp_path / "version").read_text() == "1\n"

    async def test_a_blob_in_one_request_that_breaks_off_leaves_no_upload(
        self, registry_process: RegistryProcess
    ) -> None:
        host, port = registry_process.address.rsplit(":", 1)
        _, writer = await asyncio.open_connection(host, int(port))
        digest = Digest.of(b"whole")
        writer.write(
            f"POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc".encode()
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert registry_process.stop() == 0
        assert list((registry_process.root / "uploads").iterdir()) == []

    async def test_a_folder_of_a_later_layout_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "version").write_text("99\n")
        with pytest.raises(StartError, match="layout version '99'"):
            async with open_registry(tmp_path):
                pass

    def test_readiness_is_told_to_the_service_manager(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(tmp_path / "notify"))
            manager.settimeout(30)
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "layerkit", "registry", "serve", "-q"),
                    *("--root", tmp_path / "registry", "--listen", "127.0.0.1:0"),
                ],
                env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
                stderr=subprocess.DEVNULL,
            )
            try:
                assert manager.recv(100) == b"READY=1"
            finally:
                process.terminate()
                process.wait(timeout=30)

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_it_serves_on_a_socket_that_it_inherits(self, tmp_path: Path, workers: str) -> None:
        """Socket activation (sd_listen_fds): the socket is file descriptor 3."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            # LISTEN_PID is the process's own, which it knows only once it runs.
            script = (
                "import os, sys; os.dup2(int(sys.argv[1]), 3);"
                "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
                "os.execv(sys.argv[2], sys.argv[2:])"
            )
            process = subprocess.Popen(
                [
                    *(sys.executable, "-c", script, str(listening.fileno())),
                    *(sys.executable, "-m", "layerkit", "registry", "serve", "-q"),
                    *("--root", tmp_path / "registry", "--workers", workers),
                ],
                pass_fds=[listening.fileno()],
                stderr=subprocess.DEVNULL,
            )
        try:
            # The connection waits in the socket's queue until the server is there.
            assert get(f"http://127.0.0.1:{port}/v2/") == (200, b"{}")
        finally:
            process.terminate()
            assert process.wait(timeout=30) == 0


class TestDraining:
    async def test_a_running_request_ends_well_and_new_ones_are_refused(self, tmp_path: Path) -> None:
        configuration = Configuration(root=tmp_path / "registry", listen=Address(port=0), drain_seconds=20)
        server = run_server(configuration)
        address = await server.__aenter__()
        host, port = address.rsplit(":", 1)
        content = b"0123456789" * 1000
        digest = Digest.of(content)
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"POST /v2/example/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\n"
            f"Content-Length: {len(content)}\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 100 ")
        closing = asyncio.create_task(server.__aexit__(None, None, None))
        while True:
            try:
                _, other = await asyncio.open_connection(host, int(port))
            except ConnectionError:
                break
            other.close()
            await other.wait_closed()
        assert not closing.done()
        writer.write(content)
        await reader.readline()
        assert (await reader.readline()).startswith(b"HTTP/1.1 201 ")
        writer.close()
        await closing
        async with open_registry(tmp_path / "registry") as registry:
            assert (await registry.repository("example").stat_blob(digest)).size == len(content)  # type: ignore[arg-type]


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[RegistryProcess]:
    with run_registry(tmp_path / "registry", "--workers", "2") as registry:
        yield registry


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class TestWorkers:
    def test_what_one_wrote_all_serve(self, workers: RegistryProcess) -> None:
        for number in range(20):
            digest = put_blob(workers.address, b"%d" % number)
            for _ in range(5):
                status, body = get(f"http://{workers.address}/v2/example/blobs/{digest}")
                assert (status, body) == (200, b"%d" % number)

    def test_a_killed_worker_is_replaced_and_nothing_acknowledged_is_lost(self, workers: RegistryProcess) -> None:
        digest = put_blob(workers.address, b"acknowledged")
        before = children_of(workers.process.pid)
        assert len(before) == 2
        for child in before:
            os.kill(child, signal.SIGKILL)
        # Connections wait in the sockets' queues, which the parent holds, until the next workers are there.
        for _ in range(10):
            assert get(f"http://{workers.address}/v2/example/blobs/{digest}") == (200, b"acknowledged")
        assert not set(before) & set(children_of(workers.process.pid))

    def test_an_upload_goes_on_in_whichever_worker_its_next_request_reaches(self, workers: RegistryProcess) -> None:
        async def push() -> None:
            parts = [os.urandom(100_000) for _ in range(12)]
            location = "/v2/example/blobs/uploads/"
            for part in [None, *parts]:
                # A connection each: the kernel gives it to one worker or the other.
                async with aiohttp.ClientSession(f"http://{workers.address}") as session:
                    request = session.post(location) if part is None else session.patch(location, data=part)
                    async with request as response:
                        assert response.status == 202
                        location = response.headers["Location"]
            digest = Digest.of(b"".join(parts))
            async with aiohttp.ClientSession(f"http://{workers.address}") as session:
                async with session.put(f"{location}?digest={digest}") as response:
                    assert response.status == 201

        asyncio.run(push())

    def test_sigterm_ends_them_all(self, workers: RegistryProcess) -> None:
        children = children_of(workers.process.pid)
        assert workers.stop() == 0
        assert not any(Path(f"/proc/{child}").exists() for child in children)


class TestHealth:
    def test_it_is_well(self, registry_process: RegistryProcess) -> None:
        status, body = get(f"http://{registry_process.address}/healthz")
        assert (status, json.loads(body)) == (200, {"status": "ok", "checks": {"index": "ok", "store": "ok"}})

    def test_it_is_not_when_the_store_is_gone(self, registry_process: RegistryProcess) -> None:
        (registry_process.root / "uploads").rename(registry_process.root / "elsewhere")
        status, body = get(f"http://{registry_process.address}/healthz")
        assert status == 503
        assert json.loads(body)["checks"]["index"] == "ok"
        assert "uploads" in json.loads(body)["checks"]["store"]


class TestObserving:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_metrics_have_the_names_of_distribution(self, tmp_path: Path, workers: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        configuration = tmp_path / "registry.yaml"
        configuration.write_text(f"metrics: 127.0.0.1:{port}\nworkers: {workers}\n")
        with run_registry(tmp_path / "registry", "--config", str(configuration)) as registry:
            for _ in range(10):
                get(f"http://{registry.address}/v2/")
            get(f"http://{registry.address}/v2/none/manifests/latest")
            put_blob(registry.address, b"counted")
            deadline = time.monotonic() + 20
            while True:
                text = get(f"http://127.0.0.1:{port}/metrics")[1].decode()
                lines = text.splitlines()
                # Workers tell what they counted a moment later.
                counted = sum(float(line.split()[-1]) for line in lines if line.startswith("registry_http_requests_"))
                if counted == 12 or time.monotonic() > deadline:
                    break
        assert 'registry_http_requests_total{code="200",handler="base",method="get"} 10.0' in lines
        assert 'registry_http_requests_total{code="404",handler="manifest",method="get"} 1.0' in lines
        assert 'registry_http_requests_total{code="201",handler="blob_upload",method="post"} 1.0' in lines
        for name in ("request_duration_seconds", "in_flight_requests", "request_size_bytes", "response_size_bytes"):
            assert f"# TYPE registry_http_{name} " in text
        assert 'registry_http_in_flight_requests{handler="base"} 0.0' in lines

    def test_a_request_is_one_line_of_logfmt(self, registry_process: RegistryProcess) -> None:
        request = urllib.request.Request(
            f"http://{registry_process.address}/v2/a/b/manifests/1",
            headers={"X-Request-Id": "abc-123", "User-Agent": 'who "knows"'},
        )
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=10)
        registry_process.stop()
        [line] = [line for line in registry_process.log.splitlines() if "id=abc-123" in line]
        assert " level=info msg=request " in line
        for part in ("method=GET", "path=/v2/a/b/manifests/1", "status=404", "repository=a/b", "reference=1"):
            assert f" {part} " in line
        assert line.endswith(' error=MANIFEST_UNKNOWN agent="who \\"knows\\""')

    def test_a_request_is_one_line_of_json(self, tmp_path: Path) -> None:
        configuration = tmp_path / "registry.yaml"
        configuration.write_text("log: {format: json}\n")
        with run_registry(tmp_path / "registry", "--config", str(configuration)) as registry:
            digest = put_blob(registry.address, b"logged")
            get(f"http://{registry.address}/v2/example/blobs/{digest}")
            registry.stop()
        lines = [json.loads(line) for line in registry.log.splitlines()]
        requests = [line for line in lines if line["msg"] == "request"]
        assert [(line["method"], line["status"]) for line in requests] == [("POST", 201), ("GET", 200)]
        assert requests[1]["repository"] == "example"
        assert requests[1]["reference"] == digest
        assert requests[1]["sent"] == len(b"logged")
        assert requests[0]["received"] == len(b"logged")

    def test_a_body_of_no_announced_size_counts_as_well(self, tmp_path: Path) -> None:
        """docker and buildah send layers so: `Transfer-Encoding: chunked` (RFC 9112, 7.1)."""
        configuration = tmp_path / "registry.yaml"
        configuration.write_text("log: {format: json}\n")
        with run_registry(tmp_path / "registry", "--config", str(configuration)) as registry:
            begin = urllib.request.Request(f"http://{registry.address}/v2/a/blobs/uploads/", method="POST", data=b"")
            with urllib.request.urlopen(begin, timeout=10) as response:
                location = urljoin(begin.full_url, response.headers["Location"])
            chunks = urllib.request.Request(location, method="PATCH", data=iter([b"one", b"two"]))
            urllib.request.urlopen(chunks, timeout=10).close()
            registry.stop()
        requests = [line for line in map(json.loads, registry.log.splitlines()) if line["msg"] == "request"]
        assert [(line["method"], line["received"]) for line in requests] == [("POST", 0), ("PATCH", len(b"onetwo"))]

    async def test_warnings_go_out_with_every_answer(self, tmp_path: Path) -> None:
        """`Warning: 299 - "text"`: in exactly this form clients show it (distribution-spec 1.2)."""
        configuration = Configuration(root=tmp_path / "r", listen=Address(port=0), warnings=('moves to "new"',))
        async with run_server(configuration) as address, aiohttp.ClientSession() as session:
            large = await asyncio.to_thread(put_blob, address, os.urandom(100_000))
            small = await asyncio.to_thread(put_blob, address, b"small")
            ranges = {"Range": "bytes=0-1,5-6"}
            for path, headers in (
                ("/v2/", {}),
                ("/v2/none/tags/list", {}),
                (f"/v2/example/blobs/{small}", {}),
                (f"/v2/example/blobs/{large}", {}),
                (f"/v2/example/blobs/{large}", ranges),
            ):
                for _ in range(2):
                    async with session.get(f"http://{address}{path}", headers=headers) as response:
                        assert response.headers.getall("Warning") == ['299 - "moves to \\"new\\""']
                        assert response.headers.getall("Docker-Distribution-Api-Version") == ["registry/2.0"]

    def test_an_error_that_a_handler_answers_itself_is_logged_too(self, registry_process: RegistryProcess) -> None:
        digest = put_blob(registry_process.address, b"content")
        request = urllib.request.Request(
            f"http://{registry_process.address}/v2/example/blobs/{digest}", headers={"Range": "bytes=99-"}
        )
        with pytest.raises(urllib.error.HTTPError, match="416"):
            urllib.request.urlopen(request, timeout=10)
        registry_process.stop()
        assert " status=416 " in registry_process.log
        assert " error=RANGE_INVALID " in registry_process.log

    async def test_only_a_trusted_proxy_says_who_the_client_is(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for trusted, expected in ((("127.0.0.0/8",), "192.0.2.7"), ((), "127.0.0.1")):
            configuration = Configuration(root=tmp_path / "r", listen=Address(port=0), trusted_proxies=trusted)
            async with run_server(configuration) as address, aiohttp.ClientSession() as session:
                headers = {"X-Forwarded-For": "10.1.1.1, 192.0.2.7, 127.0.0.9"}
                async with session.get(f"http://{address}/v2/", headers=headers) as response:
                    assert response.status == 200
            assert f" remote={expected} " in capsys.readouterr().err
