"""Logins as docker and podman keep them, in real files and with real helpers."""

import base64
import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from layerkit.oci.errors import Unauthorized
from layerkit.oci.reference import parse_reference
from layerkit.remote.auth import Credentials
from layerkit.remote.credentials import find_credentials, read_sources
from layerkit.remote.logins import choose_file, erase_login, keep_login, login_files
from tests.remote.test_credentials import Helper, helper  # noqa: F401 - a fixture

HOST = "registry.example:5000"
HUB = "docker.io"
ALICE = Credentials("alice", "s3cret:with:colons")
AUTH = base64.b64encode(b"alice:s3cret:with:colons").decode()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a user with nothing but a home folder."""
    return {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def read(path: Path) -> Any:
    return json.loads(path.read_text())


class TestWhichFile:
    def test_it_is_dockers_which_all_of_them_read(self, tmp_path: Path, environment: dict[str, str]) -> None:
        assert choose_file(environment, None, HOST) == tmp_path / ".docker/config.json"
        assert choose_file({**environment, "DOCKER_CONFIG": "/d"}, None, HOST) == Path("/d/config.json")

    def test_it_is_the_one_that_was_named(self, environment: dict[str, str]) -> None:
        environment["REGISTRY_AUTH_FILE"] = "/named.json"
        assert choose_file(environment, None, HOST) == Path("/named.json")
        assert choose_file(environment, Path("/mine.json"), HOST) == Path("/mine.json")

    @pytest.mark.parametrize("place", ["run/containers/auth.json", ".config/containers/auth.json"])
    def test_it_is_the_first_that_knows_the_registry(
        self, place: str, tmp_path: Path, environment: dict[str, str]
    ) -> None:
        """What is kept behind it would never be found."""
        path = write(tmp_path / place, {"auths": {HOST: {}}})
        assert choose_file(environment, None, HOST) == path
        assert choose_file(environment, None, "other.example") == tmp_path / ".docker/config.json"

    def test_nobody_writes_the_oldest(self, tmp_path: Path, environment: dict[str, str]) -> None:
        assert tmp_path / ".dockercfg" not in login_files(environment, None)


class TestFiles:
    async def test_a_file_is_made_for_its_owner_alone(self, tmp_path: Path, environment: dict[str, str]) -> None:
        path = tmp_path / "new" / "config.json"
        assert await keep_login(path, HOST, ALICE) == str(path)
        assert read(path) == {"auths": {HOST: {"auth": AUTH}}}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert [p.name for p in path.parent.iterdir()] == ["config.json"]

    async def test_an_open_file_is_closed_to_others(self, tmp_path: Path) -> None:
        path = write(tmp_path / "config.json", {})
        path.chmod(0o644)
        await keep_login(path, HOST, ALICE)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    async def test_what_else_is_in_it_stays(self, tmp_path: Path) -> None:
        auths = {"other.example": {"auth": "eDp5", "email": ""}}
        rest = {"HttpHeaders": {"X": "ü"}, "psFormat": "table", "auths": auths}
        path = write(tmp_path / "config.json", rest)
        await keep_login(path, HOST, ALICE)
        assert read(path) == {**rest, "auths": {**auths, HOST: {"auth": AUTH}}}
        await erase_login(path, HOST)
        assert read(path) == rest

    async def test_it_is_found_again(self, tmp_path: Path, environment: dict[str, str]) -> None:
        for domain in (HOST, HUB):
            await keep_login(choose_file(environment, None, domain), domain, ALICE)
            reference = parse_reference(f"{domain}/acme/web")
            assert await find_credentials(reference, read_sources(environment)) == ALICE

    @pytest.mark.parametrize(("name", "key"), [("config.json", "https://index.docker.io/v1/"), ("auth.json", HUB)])
    async def test_docker_hub_has_the_name_that_each_gives_it(self, tmp_path: Path, name: str, key: str) -> None:
        await keep_login(tmp_path / name, HUB, ALICE)
        assert list(read(tmp_path / name)["auths"]) == [key]

    async def test_the_registrys_other_names_are_replaced(self, tmp_path: Path) -> None:
        path = write(tmp_path / "auth.json", {"auths": {f"https://{HOST}/v1/": {"auth": "b2xkOm9sZA=="}}})
        await keep_login(path, HOST, ALICE)
        assert read(path)["auths"] == {HOST: {"auth": AUTH}}

    async def test_a_file_that_is_a_link_stays_one(self, tmp_path: Path) -> None:
        """As of people who keep such files in a repository of their own."""
        real = write(tmp_path / "dotfiles" / "docker.json", {})
        (tmp_path / "config.json").symlink_to(real)
        await keep_login(tmp_path / "config.json", HOST, ALICE)
        assert (tmp_path / "config.json").is_symlink()
        assert HOST in read(real)["auths"]

    async def test_what_is_no_file_is_left_alone(self) -> None:
        """REGISTRY_AUTH_FILE=/dev/null is how people say: nobody."""
        with pytest.raises(Unauthorized, match="/dev/null is no file that could keep a login"):
            await keep_login(Path("/dev/null"), HOST, ALICE)
        assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)

    @pytest.mark.parametrize("content", ["garbage", "[]", '{"auths": []}', '{"credHelpers": 1}', "[" * 99_999])
    async def test_a_file_that_is_none_of_credentials_is_not_touched(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "config.json"
        path.write_text(content)
        with pytest.raises(Unauthorized, match=f"{path} is no credential file"):
            await keep_login(path, HOST, ALICE)
        assert path.read_text() == content

    async def test_a_login_that_is_not_there_is_not_forgotten(self, tmp_path: Path) -> None:
        path = write(tmp_path / "config.json", {"auths": {"other.example": {}}})
        assert not await erase_login(path, HOST)
        assert not await erase_login(tmp_path / "absent.json", HOST)

    def test_logins_at_once_lose_nothing(self, tmp_path: Path) -> None:
        code = (
            "import asyncio,sys,pathlib;from layerkit.remote.logins import keep_login;"
            "from layerkit.remote.auth import Credentials;"
            "asyncio.run(keep_login(pathlib.Path(sys.argv[1]),sys.argv[2],Credentials('u','p')))"
        )
        path = tmp_path / "config.json"
        running = [subprocess.Popen([sys.executable, "-c", code, path, f"r{n}.example"]) for n in range(6)]
        assert [process.wait(timeout=60) for process in running] == [0] * 6
        assert len(read(path)["auths"]) == 6


class TestHelpers:
    async def test_a_store_keeps_it_and_the_file_lists_it(self, tmp_path: Path, helper: Helper) -> None:  # noqa: F811
        told = helper("mine", "")
        path = write(tmp_path / "config.json", {"credsStore": "mine"})
        assert await keep_login(path, HOST, ALICE) == "docker-credential-mine"
        assert read(path) == {"credsStore": "mine", "auths": {HOST: {}}}
        verb, document = told.read_text().split(" ", 1)
        assert verb == "store"
        assert json.loads(document) == {"ServerURL": HOST, "Username": "alice", "Secret": "s3cret:with:colons"}

    async def test_a_helper_of_the_registry_keeps_it_alone(self, tmp_path: Path, helper: Helper) -> None:  # noqa: F811
        told = helper("mine", "")
        before = {"credsStore": "other", "credHelpers": {HOST: "mine"}}
        path = write(tmp_path / "config.json", before)
        assert await keep_login(path, HOST, ALICE) == "docker-credential-mine"
        assert read(path) == before
        assert told.read_text().startswith("store {")

    async def test_an_identity_token_has_no_user(self, tmp_path: Path, helper: Helper) -> None:  # noqa: F811
        told = helper("mine", "")
        path = write(tmp_path / "config.json", {"credsStore": "mine"})
        await keep_login(path, HOST, Credentials(identity_token="refresh me"))
        assert '"Username":"<token>"' in told.read_text()

    async def test_it_forgets(self, tmp_path: Path, helper: Helper) -> None:  # noqa: F811
        told = helper("mine", "")
        path = write(tmp_path / "config.json", {"credsStore": "mine", "auths": {"https://index.docker.io/v1/": {}}})
        assert await erase_login(path, HUB)
        assert told.read_text() == "erase https://index.docker.io/v1/\n"
        assert read(path)["auths"] == {}

    async def test_one_that_never_had_it_is_no_problem(self, tmp_path: Path, helper: Helper) -> None:  # noqa: F811
        helper("mine", "echo credentials not found in native keychain; exit 1")
        path = write(tmp_path / "config.json", {"credsStore": "mine", "auths": {HOST: {}}})
        assert await erase_login(path, HOST)

    async def test_one_that_fails_is_named_and_its_secret_is_not(self, tmp_path: Path, helper: Helper) -> None:  # noqa: F811
        helper("mine", "echo the keychain is locked >&2; exit 1")
        path = write(tmp_path / "config.json", {"credsStore": "mine"})
        with pytest.raises(Unauthorized, match=r"docker-credential-mine failed .*: the keychain is locked") as caught:
            await keep_login(path, HOST, ALICE)
        assert "s3cret" not in caught.value.message
        assert read(path) == {"credsStore": "mine"}
