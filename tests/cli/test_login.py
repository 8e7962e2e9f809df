"""`layerkit login` and `logout`, and what they are for: a real registry with users."""

import json
import os
import pty
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.programs import LayerkitProcess, RegistryProcess, run_registry
from tests.registry.guarded import PASSWORDS, htpasswd

CONFIGURATION = """\
auth:
  htpasswd: users
  access:
    - {repository: "**", users: [ann], actions: ["*"]}
    - {repository: "public/**", users: [anonymous], actions: [pull]}
    - {repository: "bobs/**", users: [bob], actions: [pull, push]}
"""
SPEC = "name: web\nfrom: scratch\nlayers:\n  - copy: [{content: hello, dest: /hello}]\n"


@pytest.fixture(scope="module")
def guarded() -> Iterator[RegistryProcess]:
    with tempfile.TemporaryDirectory(prefix="lk-cli-login-") as name:
        folder = Path(name)
        (folder / "users").write_text(htpasswd(**PASSWORDS))
        (folder / "registry.yaml").write_text(CONFIGURATION)
        with run_registry(folder / "registry", "--config", str(folder / "registry.yaml")) as found:
            yield found


@dataclass(frozen=True)
class User:
    """Somebody with a home folder of his own. `config` is docker's file in it."""

    layerkit: LayerkitProcess
    home: Path
    config: Path

    def log_in(self, registry: RegistryProcess, name: str, *options: str | Path, password: str | None = None) -> str:
        secret = PASSWORDS[name] if password is None else password
        done = self.layerkit(
            "login", "-u", name, "--password-stdin", *options, registry.address, stdin=f"{secret}\n", check=False
        )
        return done.stderr


@pytest.fixture
def user(tmp_path: Path) -> User:
    home = tmp_path / "home"
    home.mkdir()
    (home / "layerkit.yaml").write_text(SPEC)
    environment = {
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "XDG_CONFIG_HOME": "",
        "DOCKER_CONFIG": "",
        "REGISTRY_AUTH_FILE": "",
        "DOCKER_AUTH_CONFIG": "",
    }
    return User(LayerkitProcess(tmp_path / "data", environment), home, home / ".docker/config.json")


class TestLogin:
    def test_who_logs_in_may_push_and_pull_and_who_logs_out_may_not(self, user: User, guarded: RegistryProcess) -> None:
        image = f"{guarded.address}/bobs/web:1"

        def push(*options: str | Path) -> str:
            arguments = ("build", "-f", user.home / "layerkit.yaml", "-t", image, "--push", *options)
            return user.layerkit(*arguments, check=False).stderr

        assert f"log in first (layerkit login {guarded.address})" in push()
        assert f"logged in to {guarded.address} as bob: kept in {user.config}" in user.log_in(guarded, "bob")
        assert stat.S_IMODE(user.config.stat().st_mode) == 0o600
        assert f"pushed {image}" in push()
        user.layerkit("pull", image)
        assert f"forgotten in {user.config}" in user.layerkit("logout", guarded.address).stderr
        assert "log in first" in user.layerkit("pull", image, check=False).stderr
        assert f"not logged in to {guarded.address}" in user.layerkit("logout", guarded.address).stderr

    def test_a_wrong_password_is_not_kept(self, user: User, guarded: RegistryProcess) -> None:
        said = user.log_in(guarded, "ann", password="wr0ng")
        assert f"error: {guarded.address} does not take this user name and password" in said
        assert "wr0ng" not in said
        assert not user.config.exists()

    def test_a_registry_that_asks_nobody_is_told(self, user: User, registry_process: RegistryProcess) -> None:
        said = user.log_in(registry_process, "ann")
        assert f"warning: {registry_process.address} does not ask who you are: the password was not checked" in said

    def test_a_file_of_ones_own_is_used_by_all_commands(
        self, user: User, guarded: RegistryProcess, tmp_path: Path
    ) -> None:
        own = tmp_path / "own.json"
        assert f"kept in {own}" in user.log_in(guarded, "ann", "--authfile", own)
        assert not user.config.exists()
        image = f"{guarded.address}/ann/web:1"
        spec = ("-f", user.home / "layerkit.yaml")
        user.layerkit("build", *spec, "-t", image, "--push", "--authfile", own)
        assert user.layerkit("inspect", "--remote", image, check=False).code == 1
        user.layerkit("inspect", "--remote", "--authfile", own, image)
        user.layerkit("pull", image, REGISTRY_AUTH_FILE=str(own))
        user.layerkit("logout", guarded.address, "--authfile", own)
        assert json.loads(own.read_text()) == {"auths": {}}

    def test_what_comes_first_all_the_same_is_told(self, user: User, guarded: RegistryProcess) -> None:
        inline = json.dumps({"auths": {guarded.address: {"auth": "Ym9iOm9sZA=="}}})
        done = user.layerkit(
            *("login", "-u", "ann", "--password-stdin", guarded.address),
            stdin=PASSWORDS["ann"],
            DOCKER_AUTH_CONFIG=inline,
        )
        assert "warning: other credentials" in done.stderr

    def test_everybody_may_pull_what_is_public_and_bob_may_not_push_to_it(
        self, user: User, guarded: RegistryProcess
    ) -> None:
        """WIRE 5: "Anonymous pull + authenticated push"."""
        image = f"{guarded.address}/public/web:1"
        build = ("build", "-f", user.home / "layerkit.yaml", "-t")
        user.log_in(guarded, "ann")
        user.layerkit(*build, image, "--push")
        user.layerkit("logout", guarded.address)
        user.layerkit("pull", image)
        user.log_in(guarded, "bob")
        user.layerkit("pull", image)
        refused = user.layerkit(*build, f"{guarded.address}/public/new:1", "--push", check=False)
        assert refused.code == 1
        assert f"http://{guarded.address}/v2/public/new/blobs/uploads/: " in refused.stderr


class TestAsking:
    def test_it_asks_on_a_terminal_and_shows_no_password(self, user: User, guarded: RegistryProcess) -> None:
        master, slave = pty.openpty()
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "layerkit", "login", guarded.address],
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
                env={**os.environ, **user.layerkit.environment, "XDG_DATA_HOME": str(user.layerkit.data)},
            )
            os.close(slave)
            seen = b""
            for question, answer in ((b"Username: ", "ann"), (b"Password: ", PASSWORDS["ann"])):
                while question not in seen:
                    seen += os.read(master, 1000)
                os.write(master, f"{answer}\n".encode())
            while b"kept in" not in seen:
                seen += os.read(master, 1000)
            assert process.wait(timeout=30) == 0
        finally:
            os.close(master)
        assert PASSWORDS["ann"].encode() not in seen

    @pytest.mark.parametrize(
        ("arguments", "stdin", "said"),
        [
            (("-p", "s3cret", "-u", "ann"), None, "seen by everybody"),
            (("--password=s3cret",), None, "seen by everybody"),
            (("--password-stdin",), "s3cret", "--password-stdin needs -u USER"),
            (("-u", "ann", "--password-stdin"), "\n", "the password is empty"),
            (("-u", "a:b", "--password-stdin"), "s3cret", "a user name has no colon"),
            (("-u", "ann"), "", "no terminal to ask on"),
        ],
    )
    def test_a_login_that_cannot_be_is_wrong_usage(
        self, user: User, arguments: tuple[str, ...], stdin: str | None, said: str
    ) -> None:
        done = user.layerkit("login", *arguments, "registry.example", stdin=stdin, check=False)
        assert (done.code, said in done.stderr) == (2, True), done.stderr
        assert "s3cret" not in done.stderr

    @pytest.mark.parametrize("host", ["no_host!", "acme", "registry.example/acme/web", "http://x", ""])
    def test_what_is_no_registry_is_wrong_usage(self, user: User, host: str) -> None:
        done = user.layerkit("login", host, stdin="", check=False)
        assert done.code == 2
        assert "Traceback" not in done.stderr
