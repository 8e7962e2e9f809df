"""What the files and helpers of docker and podman say, with real files and real helpers."""

import asyncio
import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from layerkit.oci.errors import Unauthorized
from layerkit.oci.reference import parse_reference
from layerkit.remote.auth import Credentials
from layerkit.remote.credentials import CredentialSource, find_credentials, read_sources

IMAGE = "registry.example:5000/acme/team/web:1"
HOST = "registry.example:5000"
HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")
NOT_FOUND = "credentials not found in native keychain"


def encoded(user: str, password: str = "s3cret") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def source(**content: object) -> CredentialSource:
    return CredentialSource("auth.json", json.dumps(content).encode())


async def find(*sources: CredentialSource, image: str = IMAGE) -> Credentials | None:
    return await find_credentials(parse_reference(image), sources)


Helper = Callable[[str, str], Path]


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Helper:
    """Makes `docker-credential-NAME`, a shell script on the PATH; the answer is the file with what it was sent."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def make(name: str, script: str) -> Path:
        asked = tmp_path / f"{name}.asked"
        program = folder / f"docker-credential-{name}"
        program.write_text(f'#!/bin/sh\nprintf "%s " "$@" >>"{asked}"; cat >>"{asked}"; echo >>"{asked}"\n{script}\n')
        program.chmod(0o755)
        return asked

    return make


def answer(user: str, secret: str = "s3cret") -> str:
    return f"""echo '{json.dumps({"ServerURL": "x", "Username": user, "Secret": secret})}'"""


class TestWhereTheyAre:
    def test_the_places_are_searched_from_the_most_specific_on(self, tmp_path: Path) -> None:
        """REGISTRY_AUTH_FILE, DOCKER_AUTH_CONFIG, the folders of containers, the folder of docker."""
        places = {
            "named": "named.json",
            "runtime": "run/containers/auth.json",
            "config": "config/containers/auth.json",
            "docker": "docker/config.json",
        }
        for content, name in places.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        environment = {
            "DOCKER_CONFIG": f"{tmp_path}/docker",
            "XDG_CONFIG_HOME": f"{tmp_path}/config",
            "XDG_RUNTIME_DIR": f"{tmp_path}/run",
            "DOCKER_AUTH_CONFIG": "inline",
            "REGISTRY_AUTH_FILE": f"{tmp_path}/named.json",
        }
        found = [(s.origin, s.content.decode()) for s in read_sources(environment)]
        assert found == [
            (f"{tmp_path}/named.json", "named"),
            ("DOCKER_AUTH_CONFIG", "inline"),
            (f"{tmp_path}/run/containers/auth.json", "runtime"),
            (f"{tmp_path}/config/containers/auth.json", "config"),
            (f"{tmp_path}/docker/config.json", "docker"),
        ]

    def test_the_home_folder_has_the_defaults(self, tmp_path: Path) -> None:
        names = (".config/containers/auth.json", ".docker/config.json", ".dockercfg")
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("{}")
        environment = {
            "HOME": str(tmp_path),
            "XDG_CONFIG_HOME": "",
            "DOCKER_CONFIG": "",
            "XDG_RUNTIME_DIR": str(tmp_path),
        }
        found = [s.origin for s in read_sources(environment)]
        assert found == [f"{tmp_path}/{name}" for name in names]

    async def test_the_oldest_file_has_its_entries_at_the_top(self, tmp_path: Path) -> None:
        (tmp_path / ".dockercfg").write_text(json.dumps({f"https://{HOST}/v1/": {**encoded("alice"), "email": ""}}))
        sources = read_sources({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)})
        assert await find(*sources) == Credentials("alice", "s3cret")

    def test_what_the_command_line_names_comes_first(self, tmp_path: Path) -> None:
        (tmp_path / "mine.json").write_text("mine")
        (tmp_path / "named.json").write_text("named")
        environment = {"REGISTRY_AUTH_FILE": f"{tmp_path}/named.json", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": "/"}
        assert [s.content for s in read_sources(environment, tmp_path / "mine.json")] == [b"mine", b"named"]
        with pytest.raises(Unauthorized, match=r"--authfile .*absent\.json cannot be read: No such file"):
            read_sources(environment, tmp_path / "absent.json")

    def test_there_may_be_none(self, tmp_path: Path) -> None:
        assert read_sources({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}) == []

    def test_a_folder_in_the_place_of_a_file_is_passed_over(self, tmp_path: Path) -> None:
        (tmp_path / ".docker/config.json").mkdir(parents=True)
        assert read_sources({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}) == []

    def test_a_file_that_was_named_must_be_readable(self, tmp_path: Path) -> None:
        with pytest.raises(Unauthorized, match=r"REGISTRY_AUTH_FILE=.*absent\.json cannot be read: No such file"):
            read_sources({"REGISTRY_AUTH_FILE": f"{tmp_path}/absent.json", "HOME": str(tmp_path)})


class TestFiles:
    async def test_no_source_has_no_credentials(self) -> None:
        assert await find() is None

    @pytest.mark.parametrize("content", [b"", b" \n", b"{}", b'{"auths":null,"credHelpers":null}', b'{"auths":{}}'])
    async def test_a_source_may_have_nothing(self, content: bytes) -> None:
        """REGISTRY_AUTH_FILE=/dev/null is how people say: nobody."""
        assert await find(CredentialSource("/dev/null", content)) is None

    async def test_auth_is_base64_of_user_and_password(self) -> None:
        assert await find(source(auths={HOST: encoded("alice", "a:b")})) == Credentials("alice", "a:b")

    async def test_username_and_password_may_stand_alone(self) -> None:
        assert await find(source(auths={HOST: {"username": "alice", "password": "pw"}})) == Credentials("alice", "pw")

    async def test_an_identity_token_stands_beside_auth(self) -> None:
        entry = {**encoded("00000000", ""), "identitytoken": "refresh me"}
        assert await find(source(auths={HOST: entry})) == Credentials("00000000", "", "refresh me")

    async def test_a_registry_token_is_kept(self) -> None:
        assert await find(source(auths={HOST: {"registrytoken": "fixed"}})) == Credentials(registry_token="fixed")

    async def test_unknown_fields_are_passed_over(self) -> None:
        file = source(auths={HOST: {**encoded("alice"), "email": "a@b"}}, HttpHeaders={"X": "y"}, psFormat="table")
        assert await find(file) == Credentials("alice", "s3cret")

    async def test_an_empty_entry_has_no_credentials(self) -> None:
        assert await find(source(auths={HOST: {}})) is None

    @pytest.mark.parametrize(
        "key",
        [
            "registry.example:5000/acme/team/web",
            "registry.example:5000/acme/team",
            "registry.example:5000/acme",
            "registry.example:5000",
            "https://registry.example:5000",
            "http://registry.example:5000",
            "https://registry.example:5000/v1/",
            "https://registry.example:5000/v2/",
        ],
    )
    async def test_a_key_is_a_path_or_a_host(self, key: str) -> None:
        assert await find(source(auths={key: encoded("alice")})) == Credentials("alice", "s3cret")

    @pytest.mark.parametrize(
        "key", ["registry.example", "registry.example:5000/acme/tea", "acme", "example:5000", "docker.io", "*"]
    )
    async def test_another_key_is_for_another(self, key: str) -> None:
        assert await find(source(auths={key: encoded("mallory")})) is None

    async def test_the_most_specific_key_comes_first(self) -> None:
        keys = [HOST, f"{HOST}/acme", f"{HOST}/acme/team", f"{HOST}/acme/team/web"]
        for count in range(1, len(keys) + 1):
            auths = {key: encoded(key.replace(":", "_")) for key in keys[:count]}
            found = await find(source(auths=auths))
            assert found is not None
            assert found.username == keys[count - 1].replace(":", "_")

    async def test_the_first_source_that_has_them_wins(self) -> None:
        first, second = source(auths={HOST: encoded("first")}), source(auths={f"{HOST}/acme": encoded("second")})
        other = source(auths={"other.example": encoded("other")})
        found = await find(other, first, second)
        assert found is not None
        assert found.username == "first"

    @pytest.mark.parametrize("key", HUB_KEYS)
    @pytest.mark.parametrize("image", ["debian", "docker.io/library/debian:12", "index.docker.io/library/debian"])
    async def test_docker_hub_has_its_old_names(self, key: str, image: str) -> None:
        assert await find(source(auths={key: encoded("alice")}), image=image) == Credentials("alice", "s3cret")

    async def test_docker_hub_has_paths_as_well(self) -> None:
        file = source(auths={HUB_KEYS[0]: encoded("all"), "docker.io/library": encoded("library")})
        found = await find(file, image="debian")
        assert found is not None
        assert found.username == "library"

    @pytest.mark.parametrize(
        "auth",
        [
            "!",
            "YWxpY2U",
            base64.b64encode(b"no colon").decode(),
            base64.b64encode(b"\xff\xfe:x").decode(),
            "ä",
        ],
        ids=["sign", "cut", "no-colon", "binary", "not-ascii"],
    )
    async def test_an_auth_that_is_none_is_named_but_not_shown(self, auth: str) -> None:
        content = json.dumps({"auths": {HOST: {"auth": auth}}}).encode()
        with pytest.raises(Unauthorized, match=rf"/my/auth\.json: the `auth` of {HOST} is not base64") as caught:
            await find(CredentialSource("/my/auth.json", content))
        assert auth == "!" or auth not in caught.value.message
        assert caught.value.__cause__ is None

    @pytest.mark.parametrize(
        "content", [b"garbage", b"[]", b'{"auths":[]}', b'{"auths":{"x":1}}', b"\xff", b"[" * 99999]
    )
    async def test_a_file_that_is_none_is_named(self, content: bytes) -> None:
        with pytest.raises(Unauthorized, match=r"/my/config\.json is no credential file"):
            await find(CredentialSource("/my/config.json", content))

    async def test_a_secret_in_a_wrong_place_is_not_shown(self) -> None:
        with pytest.raises(Unauthorized) as caught:
            await find(CredentialSource("x", b'{"auths":{"a":{"auth":["s3cret"]}}}'))
        assert "s3cret" not in f"{caught.value}{caught.value.__cause__}"


class TestHelpers:
    async def test_a_helper_is_asked_for_its_host_on_stdin(self, helper: Helper) -> None:
        """docker-credential-helpers, README ("Development"): `get`, the server on stdin, JSON on stdout."""
        asked = helper("mine", answer("alice", "from helper"))
        assert await find(source(credHelpers={HOST: "mine"})) == Credentials("alice", "from helper")
        assert asked.read_text() == f"get {HOST}\n"

    async def test_the_user_named_token_has_an_identity_token(self, helper: Helper) -> None:
        helper("mine", answer("<token>", "refresh me"))
        assert await find(source(credHelpers={HOST: "mine"})) == Credentials(identity_token="refresh me")

    async def test_a_helper_of_the_host_comes_before_the_store_and_the_file(self, helper: Helper) -> None:
        helper("mine", answer("helper"))
        store = helper("store", answer("store"))
        file = source(credHelpers={HOST: "mine"}, credsStore="store", auths={HOST: encoded("file")})
        assert await find(file) == Credentials("helper", "s3cret")
        assert not store.exists()

    async def test_the_store_comes_before_the_file(self, helper: Helper) -> None:
        asked = helper("store", answer("store"))
        assert await find(source(credsStore="store", auths={HOST: encoded("file")})) == Credentials("store", "s3cret")
        assert asked.read_text() == f"get {HOST}\n"

    async def test_the_store_is_asked_without_an_entry_in_the_file(self, helper: Helper) -> None:
        asked = helper("store", answer("store"))
        assert await find(source(credsStore="store")) == Credentials("store", "s3cret")
        assert asked.read_text() == f"get {HOST}\n"

    async def test_the_store_knows_docker_hub_by_its_old_name(self, helper: Helper) -> None:
        asked = helper("store", answer("store"))
        assert await find(source(credsStore="store"), image="debian") == Credentials("store", "s3cret")
        assert asked.read_text() == "get https://index.docker.io/v1/\n"

    async def test_a_helper_of_another_host_is_not_asked(self, helper: Helper) -> None:
        asked = helper("mine", answer("mallory"))
        assert await find(source(credHelpers={"other.example": "mine"})) is None
        assert not asked.exists()

    @pytest.mark.parametrize("stream", ["", ">&2"])
    async def test_credentials_not_found_are_none(self, helper: Helper, stream: str) -> None:
        """They say it on stdout, with exit code 1."""
        helper("mine", f"echo {NOT_FOUND} {stream}; exit 1")
        assert await find(source(credHelpers={HOST: "mine"})) is None
        assert await find(source(credsStore="mine")) is None

    async def test_what_a_helper_has_not_the_file_may_have(self, helper: Helper) -> None:
        helper("mine", f"echo {NOT_FOUND}; exit 1")
        file = source(credHelpers={HOST: "mine"}, auths={HOST: encoded("file")})
        assert await find(file) == Credentials("file", "s3cret")

    async def test_an_empty_answer_of_a_helper_is_nobody(self, helper: Helper) -> None:
        helper("mine", answer("", ""))
        assert await find(source(credHelpers={HOST: "mine"})) is None

    async def test_a_helper_that_does_not_read_is_no_problem(self, helper: Helper, tmp_path: Path) -> None:
        helper("mine", "")
        (tmp_path / "bin/docker-credential-mine").write_text(f"#!/bin/sh\nexec <&-\n{answer('alice')}\n")
        assert await find(source(credHelpers={HOST: "mine"})) == Credentials("alice", "s3cret")

    async def test_a_helper_that_fails_is_named_with_its_words(self, helper: Helper) -> None:
        helper("mine", "echo the keychain is locked >&2; exit 3")
        with pytest.raises(Unauthorized, match=f"docker-credential-mine failed for {HOST}: the keychain is locked"):
            await find(source(credHelpers={HOST: "mine"}))

    async def test_a_talkative_helper_is_cut_short(self, helper: Helper) -> None:
        helper("mine", "head -c 1000000 /dev/zero | tr '\\0' x; exit 1")
        with pytest.raises(Unauthorized) as caught:
            await find(source(credHelpers={HOST: "mine"}))
        assert len(caught.value.message) < 400

    @pytest.mark.parametrize("out", ["", "ok", "{}", '{"Username":"s3cret"}', '{"Username":1,"Secret":"s3cret"}'])
    async def test_a_helper_that_answers_something_else_is_named_but_not_quoted(self, helper: Helper, out: str) -> None:
        helper("mine", f"echo '{out}'")
        with pytest.raises(Unauthorized, match=r"docker-credential-mine did not answer as one") as caught:
            await find(source(credHelpers={HOST: "mine"}))
        assert "s3cret" not in f"{caught.value}{caught.value.__cause__}"

    async def test_a_helper_that_is_missing_is_named(self, helper: Helper) -> None:
        with pytest.raises(Unauthorized, match=r"docker-credential-absent for .* cannot be run: No such file"):
            await find(source(credHelpers={HOST: "absent"}))

    async def test_a_helper_that_is_no_program_is_named(self, helper: Helper, tmp_path: Path) -> None:
        helper("mine", answer("alice"))
        (tmp_path / "bin/docker-credential-mine").chmod(0o644)
        with pytest.raises(Unauthorized, match=r"docker-credential-mine for .* cannot be run: Permission denied"):
            await find(source(credHelpers={HOST: "mine"}))

    async def test_a_helper_is_ended_with_whoever_waits_for_it(self, helper: Helper, tmp_path: Path) -> None:
        """Opening a pipe waits for its other end: the helper has begun when it can be opened, and never goes on."""
        os.mkfifo(tmp_path / "begun")
        os.mkfifo(tmp_path / "never")
        helper("mine", f"echo $$ >{tmp_path}/begun; exec cat {tmp_path}/never")
        asking = asyncio.create_task(find(source(credHelpers={HOST: "mine"})))
        number = int(await asyncio.to_thread((tmp_path / "begun").read_text))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)
