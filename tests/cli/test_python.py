"""Wheels on the command line: an index that asks who is there, and what users see of wheels that cannot be used."""

import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.programs import LayerkitProcess
from tests.wheels import files_of, make_wheel, record_of, zip_of

LOGIN = "Basic " + b64encode(b"me:s3cret").decode()
SPEC = "from: scratch\nlayers:\n  - python: {requirements: requirements.txt, version: 3.11}\n"


@dataclass
class Index:
    """A simple index (PEP 503) of the wheels in a folder; those of `moved` are at another server.

    `seen` are the paths that were asked for, each with the login that was told.
    """

    folder: Path
    login: str = ""
    moved: str = ""
    url: str = ""
    seen: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, path: str, login: str) -> tuple[int, str, bytes]:
        """Status, content type or new place, and body."""
        self.seen.append((path, login))
        if self.login and login != self.login:
            return 401, "text/plain", b"who is there?"
        name = path.strip("/").rpartition("/")[2]
        if path.startswith("/files/"):
            if self.moved:
                return 302, f"{self.moved}{path}", b""
            return 200, "application/octet-stream", (self.folder / name).read_bytes()
        links = "".join(
            f'<a href="../../files/{wheel.name}#sha256={sha256(wheel.read_bytes()).hexdigest()}">{wheel.name}</a>\n'
            for wheel in sorted(self.folder.glob(f"{name}-*.whl"))
        )
        return (200, "text/html", f"<html><body>{links}</body></html>".encode()) if links else (404, "text/html", b"")


@contextmanager
def serve(index: Index) -> Iterator[Index]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = index.answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", kind)
            elif status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="wheels"')
            self.send_header("Content-Type", kind if status != 302 else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - its name in the library

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the library
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        index.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    make_wheel(folder)
    return folder


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    folder = tmp_path / "spec"
    folder.mkdir()
    (folder / "requirements.txt").write_text("hello\n")
    path = folder / "layerkit.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    (folder / ".config/pip").mkdir(parents=True)
    return folder


@pytest.fixture
def layerkit(tmp_path: Path, home: Path) -> LayerkitProcess:
    """The command line of a user whose settings are in `home` alone."""
    environment = {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_CONFIG_DIRS": str(home / "none"),
        "UV_HTTP_RETRIES": "0",
        **dict.fromkeys(
            ("PIP_CONFIG_FILE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "NETRC"), ""
        ),
    }
    return LayerkitProcess(tmp_path / "data", environment)


def test_an_index_that_asks_who_is_there_is_told_by_pips_settings_and_nobody_else(
    layerkit: LayerkitProcess, spec: Path, wheels: Path, home: Path, tmp_path: Path
) -> None:
    with serve(Index(wheels)) as other, serve(Index(wheels, login=LOGIN, moved=other.url)) as index:
        address = index.url.removeprefix("http://")
        (home / ".config/pip/pip.conf").write_text(f"[global]\nindex-url = http://me:s3cret@{address}/simple\n")
        layerkit("lock", "-f", spec)
        done = layerkit("build", "--locked", "-f", spec, "-o", f"oci:{tmp_path}/image")
    assert [path for path, login in index.seen if login == LOGIN and path.startswith("/files/")]
    assert {login for path, login in other.seen if path.startswith("/files/")} == {""}
    lock = spec.with_suffix(".lock").read_text()
    assert "hello-1.0-py3-none-any.whl" in lock
    written = [path.read_bytes() for path in (tmp_path / "image").rglob("*") if path.is_file()]
    for word in ("s3cret", "127.0.0.1"):
        assert word not in lock
        assert word not in done.stdout + done.stderr
        assert not any(word.encode() in content for content in written)


def test_a_login_that_is_refused_is_told_without_it(
    layerkit: LayerkitProcess, spec: Path, wheels: Path, home: Path
) -> None:
    with serve(Index(wheels, login=LOGIN)) as index:
        address = index.url.removeprefix("http://")
        (home / ".config/pip/pip.conf").write_text(f"[global]\nindex-url = http://me:wr0ng@{address}/simple\n")
        done = layerkit("build", "-f", spec, check=False)
    assert done.code == 2
    assert "requirements.txt cannot be resolved" in done.stderr
    assert "wr0ng" not in done.stderr
    assert "Traceback" not in done.stderr


def test_netrc_tells_who_is_there(layerkit: LayerkitProcess, spec: Path, wheels: Path, home: Path) -> None:
    with serve(Index(wheels, login=LOGIN)) as index:
        (home / ".netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
        layerkit("build", "-f", spec, UV_DEFAULT_INDEX=f"{index.url}/simple")


def test_wheels_that_contradict_themselves_are_refused_in_words(
    layerkit: LayerkitProcess, spec: Path, wheels: Path
) -> None:
    files = files_of()
    record = record_of(files, "hello-1.0.dist-info")
    raw = zip_of({**files, "hello/__init__.py": b"import evil\n", "hello-1.0.dist-info/RECORD": record})
    (wheels / "hello-1.0-py3-none-any.whl").write_bytes(raw)
    (spec.parent / "requirements.txt").write_text("--no-index\n--find-links ../wheels\nhello\n")
    done = layerkit("build", "-f", spec, check=False)
    assert done.code == 2
    assert "3:13: hello-1.0-py3-none-any.whl cannot be used: 'hello/__init__.py' has 12 bytes" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_build_without_a_network_says_what_it_cannot_reach(layerkit: LayerkitProcess, spec: Path) -> None:
    done = layerkit("build", "-f", spec, check=False, UV_DEFAULT_INDEX="http://127.0.0.1:9/simple")
    assert done.code == 2
    assert "layerkit.yaml:3:13: requirements.txt cannot be resolved for Python 3.11.0" in done.stderr
    assert "127.0.0.1:9" in done.stderr


def test_requirements_may_name_an_index_with_a_login(layerkit: LayerkitProcess, spec: Path, wheels: Path) -> None:
    with serve(Index(wheels, login=LOGIN)) as index:
        address = index.url.removeprefix("http://")
        text = f"--index-url http://${{WHO}}:s3cret@{address}/simple\nhello\n"
        (spec.parent / "requirements.txt").write_text(text)
        layerkit("lock", "-f", spec, WHO="me")
    assert "s3cret" not in spec.with_suffix(".lock").read_text()
