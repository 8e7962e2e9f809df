"""A registry with users and public images, for the clients that people have: what each sends, and in which order, is
not the same (WIRE 2-10)."""

import base64
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import oras.provider
import pytest
import trustme

from tests.clients.multi import make_index
from tests.engines import Client
from tests.programs import LayerkitProcess, RegistryProcess, run_program, run_registry
from tests.registry.guarded import PASSWORDS, htpasswd

Run = Callable[..., str]

pytestmark = pytest.mark.engine

CONFIGURATION = """\
auth:
  htpasswd: users
  access:
    - {repository: "**", users: [ann], actions: ["*"]}
    - {repository: "public/**", users: [anonymous], actions: [pull]}
    - {repository: "bobs/**", users: [bob], actions: [pull, push]}
"""
ANN = f"ann:{PASSWORDS['ann']}"


@dataclass(frozen=True)
class Guarded:
    """A registry that has the image `public/app:1` and, private, `ann/app:1`."""

    address: str
    digest: str

    @property
    def public(self) -> str:
        return f"{self.address}/public/app:1"

    @property
    def private(self) -> str:
        return f"{self.address}/ann/app:1"


@pytest.fixture(scope="module")
def process() -> Iterator[RegistryProcess]:
    with tempfile.TemporaryDirectory(prefix="lk-login-") as name:
        folder = Path(name)
        (folder / "users").write_text(htpasswd(**PASSWORDS))
        (folder / "registry.yaml").write_text(CONFIGURATION)
        with run_registry(folder / "registry", "--config", str(folder / "registry.yaml")) as found:
            yield found


@pytest.fixture
async def guarded(process: RegistryProcess, tmp_path: Path) -> Guarded:
    source, digest = await make_index(tmp_path / "layout")
    found = Guarded(process.address, digest)
    for name in (found.public, found.private):
        creds = ("--dest-creds", ANN, "--dest-tls-verify=false")
        run_program("skopeo", "copy", "--all", "--preserve-digests", *creds, source, f"docker://{name}")
    return found


def fails(run: Run, *arguments: str | Path) -> str:
    """What a program that must fail says."""
    with pytest.raises(pytest.fail.Exception) as caught:
        run(*arguments)
    return str(caught.value).lower()


class TestDocker:
    def test_whoever_is_not_logged_in_pulls_what_is_public_and_nothing_else(
        self, guarded: Guarded, docker: Run
    ) -> None:
        docker("logout", guarded.address)
        assert f"Digest: {guarded.digest}" in docker("pull", guarded.public)
        assert "may require 'docker login'" in fails(docker, "pull", guarded.private)
        docker("tag", guarded.public, f"{guarded.address}/public/more:1")
        assert "denied" in fails(docker, "push", f"{guarded.address}/public/more:1")

    def test_whoever_is_logged_in_pushes_and_pulls(self, guarded: Guarded, docker: Run) -> None:
        docker("login", "-u", "ann", "-p", PASSWORDS["ann"], guarded.address)
        try:
            docker("pull", guarded.private)
            copy = f"{guarded.address}/by/docker:1"
            docker("tag", guarded.private, copy)
            # Its layers are mounted from where they were pulled.
            assert "digest: sha256:" in docker("push", copy)
            docker("rmi", "-f", copy)
            docker("pull", copy)
        finally:
            docker("logout", guarded.address)
        docker("rmi", "-f", guarded.private)
        assert "may require 'docker login'" in fails(docker, "pull", guarded.private)

    def test_layerkit_is_logged_in_then_as_well(
        self, guarded: Guarded, docker: Client, layerkit: LayerkitProcess
    ) -> None:
        """What docker keeps is a refresh token (7: "`grant_type=...|refresh_token`")."""
        docker("login", "-u", "ann", "-p", PASSWORDS["ann"], guarded.address)
        folder = docker.environment["DOCKER_CONFIG"]
        try:
            entry = json.loads((Path(folder) / "config.json").read_text())["auths"][guarded.address]
            assert entry["identitytoken"]
            layerkit("pull", guarded.private, DOCKER_CONFIG=folder, REGISTRY_AUTH_FILE="")
        finally:
            docker("logout", guarded.address)

    def test_whoever_may_not_push_there_hears_it(self, guarded: Guarded, docker: Run) -> None:
        docker("login", "-u", "bob", "-p", PASSWORDS["bob"], guarded.address)
        try:
            docker("pull", guarded.public)
            docker("tag", guarded.public, f"{guarded.address}/bobs/app:1")
            docker("push", f"{guarded.address}/bobs/app:1")
            docker("tag", guarded.public, f"{guarded.address}/ann/evil:1")
            assert "denied" in fails(docker, "push", f"{guarded.address}/ann/evil:1")
        finally:
            docker("logout", guarded.address)

    def test_a_wrong_password_does_not_log_in(self, guarded: Guarded, docker: Run) -> None:
        assert "the user or the password is wrong" in fails(
            docker, "login", "-u", "ann", "-p", "wrong", guarded.address
        )


class TestPodman:
    def test_it_logs_in_pushes_pulls_and_logs_out(self, guarded: Guarded, podman: Run, tmp_path: Path) -> None:
        (tmp_path / "auth.json").write_text("{}")
        plain, auth = "--tls-verify=false", f"--authfile={tmp_path}/auth.json"
        podman("pull", plain, auth, guarded.public)
        assert "unauthorized" in fails(podman, "pull", plain, auth, guarded.private)
        podman("login", plain, auth, "-u", "ann", "-p", PASSWORDS["ann"], guarded.address)
        podman("pull", plain, auth, guarded.private)
        podman("push", plain, auth, guarded.private, f"{guarded.address}/by/podman:1")
        podman("pull", plain, auth, f"{guarded.address}/by/podman:1")
        podman("logout", auth, guarded.address)
        podman("rmi", "--all", "--force")
        assert "unauthorized" in fails(podman, "pull", plain, auth, guarded.private)

    def test_a_wrong_password_does_not_log_in(self, guarded: Guarded, podman: Run, tmp_path: Path) -> None:
        login = ("login", "--tls-verify=false", f"--authfile={tmp_path}/auth.json", "-u", "bob", "-p", "wrong")
        assert "invalid username/password" in fails(podman, *login, guarded.address)


class TestSkopeo:
    def test_it_reads_what_is_public_without_credentials(self, guarded: Guarded, skopeo: Run) -> None:
        """Its version of none is an empty Basic header, once a challenge asks for Basic; ours does not."""
        anonymous = ("--no-creds", "--tls-verify=false")
        skopeo("inspect", *anonymous, f"docker://{guarded.public}")
        assert "unauthorized" in fails(skopeo, "inspect", *anonymous, f"docker://{guarded.private}")

    def test_it_copies_lists_and_deletes_with_them(self, guarded: Guarded, skopeo: Run) -> None:
        creds = ("--src-creds", ANN, "--dest-creds", ANN, "--src-tls-verify=false", "--dest-tls-verify=false")
        copy = f"docker://{guarded.address}/by/skopeo:1"
        skopeo("copy", "--all", *creds, f"docker://{guarded.private}", copy)
        read = ("--creds", ANN, "--tls-verify=false")
        assert json.loads(skopeo("list-tags", *read, f"docker://{guarded.address}/by/skopeo"))["Tags"] == ["1"]
        skopeo("delete", *read, copy)
        assert "manifest unknown" in fails(skopeo, "inspect", *read, copy)

    def test_who_may_not_is_refused(self, guarded: Guarded, skopeo: Run) -> None:
        bob = f"bob:{PASSWORDS['bob']}"
        creds = ("--src-no-creds", "--dest-creds", bob, "--src-tls-verify=false", "--dest-tls-verify=false")
        skopeo("copy", *creds, f"docker://{guarded.public}", f"docker://{guarded.address}/bobs/x:1")
        copy = ("copy", *creds, f"docker://{guarded.public}", f"docker://{guarded.address}/ann/x:1")
        assert "denied" in fails(skopeo, *copy)
        delete = ("delete", "--creds", bob, "--tls-verify=false", f"docker://{guarded.address}/bobs/x:1")
        assert "unauthorized" in fails(skopeo, *delete)


def test_buildah_pushes_what_it_builds(guarded: Guarded, buildah: Run, tmp_path: Path) -> None:
    auth = f"--authfile={tmp_path}/auth.json"
    buildah("login", "--tls-verify=false", auth, "-u", "ann", "-p", PASSWORDS["ann"], guarded.address)
    container = buildah("from", "scratch").strip()
    (tmp_path / "file").write_text("content")
    buildah("copy", container, str(tmp_path / "file"), "/file")
    buildah("commit", "--tls-verify=false", auth, container, f"docker://{guarded.address}/by/buildah:1")
    buildah("logout", auth, guarded.address)
    base = f"{guarded.address}/by/buildah:1"
    assert "unauthorized" in fails(buildah, "from", "--pull-always", "--tls-verify=false", auth, base)


def test_oras_pushes_and_pulls(guarded: Guarded, tmp_path: Path) -> None:
    """With Basic, because with tokens its Python client asks for one to look, and then pushes with the same one."""
    client = oras.provider.Registry(insecure=True, auth_backend="basic")
    client.auth.set_basic_auth("ann", PASSWORDS["ann"])
    (tmp_path / "sbom.json").write_text("{}")
    name = f"{guarded.address}/by/oras:1"
    files = [f"{tmp_path}/sbom.json:application/spdx+json"]
    assert client.push(name, files=files, disable_path_validation=True, quiet=True).status_code == 201
    reader = oras.provider.Registry(insecure=True, auth_backend="token")
    reader.auth.set_basic_auth("ann", PASSWORDS["ann"])
    [pulled] = reader.pull(name, outdir=str(tmp_path / "out"))
    assert Path(pulled).read_text() == "{}"


def test_curl_comes_in_with_a_password_or_a_token(guarded: Guarded) -> None:
    base = f"http://{guarded.address}"
    tags = f"{base}/v2/ann/app/tags/list"
    assert json.loads(run_program("curl", "-sSf", "-u", ANN, tags))["tags"] == ["1"]
    answer = json.loads(run_program("curl", "-sSf", "-u", ANN, f"{base}/token?scope=repository:ann/app:pull"))
    header = f"Authorization: Bearer {answer['token']}"
    assert json.loads(run_program("curl", "-sSf", "-H", header, tags))["tags"] == ["1"]
    assert run_program("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", tags) == "401"
    form = ("-d", "grant_type=password", "--data-urlencode", f"password={PASSWORDS['bob']}", "-d", "username=bob")
    assert json.loads(run_program("curl", "-sSf", *form, f"{base}/token"))["access_token"]


def test_layerkit_pushes_and_pulls(guarded: Guarded, layerkit: LayerkitProcess, tmp_path: Path) -> None:
    (tmp_path / "layerkit.yaml").write_text("name: app\nfrom: scratch\nlayers: [{copy: [{content: a, dest: /a}]}]\n")
    name = f"{guarded.address}/by/layerkit:1"
    build = ("build", "-f", tmp_path / "layerkit.yaml", "-t", name)
    (tmp_path / "config.json").write_text(
        json.dumps({"auths": {guarded.address: {"auth": base64.b64encode(ANN.encode()).decode()}}})
    )
    layerkit(*build)
    layerkit = replace(layerkit, environment={"REGISTRY_AUTH_FILE": ""})
    done = layerkit("push", name, check=False, DOCKER_CONFIG=str(tmp_path / "none"))
    assert done.code == 1
    assert "authentication required" in done.stderr
    layerkit("push", name, DOCKER_CONFIG=str(tmp_path))
    layerkit("pull", name, DOCKER_CONFIG=str(tmp_path))
    layerkit("pull", guarded.public, DOCKER_CONFIG=str(tmp_path / "none"))


async def test_over_tls_with_an_authority_of_ones_own(
    docker: Run, skopeo: Run, podman: Run, layerkit: LayerkitProcess, tmp_path: Path
) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    (tmp_path / "certs").mkdir()
    authority.cert_pem.write_to_path(tmp_path / "certs/ca.crt")
    (tmp_path / "users").write_text(htpasswd(**PASSWORDS))
    (tmp_path / "registry.yaml").write_text(f"{CONFIGURATION}tls: {{certificate: cert.pem, key: key.pem}}\n")
    source, _ = await make_index(tmp_path / "layout")
    with run_registry(tmp_path / "registry", "--config", str(tmp_path / "registry.yaml")) as registry:
        name = f"{registry.address}/public/app:1"
        certificates = str(tmp_path / "certs")
        skopeo("copy", "--all", "--dest-cert-dir", certificates, "--dest-creds", ANN, source, f"docker://{name}")
        podman("pull", "--cert-dir", certificates, name)
        layerkit("pull", "--ca", tmp_path / "certs/ca.crt", name)
        # On loopback it does not ask who signed a certificate.
        docker("login", "-u", "ann", "-p", PASSWORDS["ann"], registry.address)
        docker("pull", name)
        docker("tag", name, f"{registry.address}/by/docker:1")
        docker("push", f"{registry.address}/by/docker:1")
        docker("logout", registry.address)
