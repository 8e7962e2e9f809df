"""`layerkit registry users`: the registry's own users, while it runs and before."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from registry.app import open_index, warn_of_idle_users
from registry.config import Configuration, Users
from registry.metadata.users import add_user
from registry.policy.access import Access
from tests.programs import LayerkitProcess, RegistryProcess, run_registry
from tests.registry.guarded import basic, bearer


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RegistryProcess]:
    config = tmp_path / "registry.yaml"
    config.write_text("auth: {}\n")
    with run_registry(tmp_path / "registry", "--config", str(config), "--workers", "2") as registry:
        yield registry


async def test_users_come_and_go_while_it_runs(registry: RegistryProcess, layerkit: LayerkitProcess) -> None:
    async def status_of(name: str, password: str) -> int:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{registry.address}/v2/", headers=basic(name, password)) as response:
                return response.status

    def users(*arguments: str, check: bool = True, stdin: str = "") -> tuple[int, str, str]:
        done = layerkit("registry", "users", *arguments, "--root", registry.root, check=check, stdin=stdin)
        return done.code, done.stdout, done.stderr

    generated = users("add", "ci", "--generate")[1].strip()
    assert await status_of("ci", generated) == 200
    users("add", "ann", "--password-stdin", stdin="first\n")
    assert await status_of("ann", "first") == 200
    assert users("add", "ann", "--generate", check=False)[::2] == (
        1,
        "error: there is a user 'ann' already: `layerkit registry users passwd ann`\n",
    )
    users("passwd", "ann", "--password-stdin", stdin="second")
    assert await status_of("ann", "first") == 401
    assert await status_of("ann", "second") == 200
    assert [line.split()[0] for line in users("list")[1].splitlines()] == ["ann", "ci"]
    users("remove", "ann")
    assert await status_of("ann", "second") == 401
    code, _, message = users("remove", "ann", check=False)
    assert (code, message) == (1, "error: there is no user 'ann': `layerkit registry users list` shows all\n")


async def test_a_token_of_one_worker_is_good_at_all(registry: RegistryProcess, layerkit: LayerkitProcess) -> None:
    password = layerkit("registry", "users", "add", "ann", "--generate", "--root", registry.root).stdout.strip()
    base = f"http://{registry.address}"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{base}/token?scope=registry:catalog:*", headers=basic("ann", password)) as response:
            headers = bearer((await response.json())["token"])
    for _ in range(20):
        # A connection each: the kernel gives it to one worker or the other.
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{base}/v2/_catalog", headers=headers) as response:
                assert response.status == 200


def test_they_can_be_there_before_the_registry_is(layerkit: LayerkitProcess, tmp_path: Path) -> None:
    root = tmp_path / "registry"
    password = layerkit("registry", "users", "add", "ann", "--generate", "--root", root).stdout.strip()
    assert len(password) >= 32
    [user] = json.loads(layerkit("registry", "users", "list", "--format", "json", "--root", root).stdout)
    assert (user["name"], user["created"]) == ("ann", user["changed"])


async def test_users_whom_nobody_asks_for_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    configuration = Configuration(root=tmp_path / "registry")
    await warn_of_idle_users(configuration)
    async with open_index(configuration.root) as index:
        await warn_of_idle_users(configuration)
        assert caplog.text == ""
        await index.write(lambda queries: add_user(queries, "ann", "hash", now=1))
    await warn_of_idle_users(replace(configuration, users=Users(access=Access())))
    assert caplog.text == ""
    await warn_of_idle_users(configuration)
    assert "the configuration has no `auth:`" in caplog.text


def test_on_a_terminal_it_asks_and_does_not_show(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    # A terminal of its own, which the session that it leads has to take first.
    script = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    arguments = ("-m", "layerkit", "registry", "users", "add", "ann", "--root", str(tmp_path / "registry"))
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    shown = b""
    with os.fdopen(ours, "r+b", buffering=0) as terminal:
        for prompt in (b"Password: ", b"confirmation: "):
            while not shown.endswith(prompt):
                shown += terminal.read(1)
            terminal.write(b"hush-hush\n")
        while b"added ann" not in shown:
            shown += terminal.read(1)
        assert process.wait(timeout=30) == 0
    assert b"hush-hush" not in shown


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (("add", "a:b", "--generate"), "", "'a:b' is no name of a user; use up to 128 letters, digits and . _ @ + -"),
        (("add", "anonymous", "--generate"), "", "no user can be called 'anonymous'"),
        (("add", "ann"), "", "no terminal to ask for the password: use --password-stdin or --generate"),
        (("add", "ann", "--password-stdin"), "\n", "a password has 1 to 1024 characters, this one 0"),
        (("add", "ann", "--password-stdin"), "x" * 2000, "a password has 1 to 1024 characters, this one 2000"),
        (("add", "ann", "--password-stdin", "--generate"), "", "exclude each other"),
        (("passwd", "nobody", "--generate"), "", "there is no user 'nobody'"),
    ],
)
def test_what_cannot_be_is_told(
    layerkit: LayerkitProcess, tmp_path: Path, arguments: tuple[str, ...], stdin: str, message: str
) -> None:
    done = layerkit("registry", "users", *arguments, "--root", tmp_path / "r", check=False, stdin=stdin)
    assert done.code in {1, 2}
    assert message in done.stderr
    assert done.stdout == ""
