"""The configuration: four places, each above the one before, and every mistake with its place."""

import json
from pathlib import Path

import pytest

from layerkit.document.problem import DocumentError, InvalidValue
from registry.config import Address, Configuration, LogFormat, LogLevel, Redirect, Tls, Users, parse_address
from registry.config.load import load_configuration
from registry.config.shape import ConfigurationFile
from registry.policy.access import ALL_ACTIONS, Access, Action, Rule
from tests.programs import PROJECT, LayerkitProcess

DEFAULT_ROOT = Path("/data/registry")


def load(
    tmp_path: Path, text: str | None, environment: dict[str, str] | None = None, **arguments: object
) -> Configuration:
    path = None
    if text is not None:
        path = tmp_path / "registry.yaml"
        path.write_text(text)
    return load_configuration(path, environment=environment or {}, default_root=DEFAULT_ROOT, **arguments)  # type: ignore[arg-type]


def test_nothing_needs_to_be_configured(tmp_path: Path) -> None:
    assert load(tmp_path, None) == Configuration(root=DEFAULT_ROOT)


def test_a_file_sets_everything(tmp_path: Path) -> None:
    assert load(
        tmp_path,
        """
root: data
listen: "[::1]:80"
workers: 4
drain: 1m30s
metrics: :5001
log: {format: json, level: warning}
warnings: [soon gone]
trusted_proxies: [10.0.0.0/8, 192.0.2.7]
""",
    ) == Configuration(
        root=tmp_path / "data",
        listen=Address("::1", 80),
        workers=4,
        drain_seconds=90,
        metrics=Address("0.0.0.0", 5001),
        log_format=LogFormat.JSON,
        log_level=LogLevel.WARNING,
        warnings=("soon gone",),
        trusted_proxies=("10.0.0.0/8", "192.0.2.7/32"),
    )


def test_the_documented_file_is_one_with_every_key(tmp_path: Path) -> None:
    text = (PROJECT / "docs/configuration.md").read_text()
    example = text.partition("```yaml\n")[2].partition("```")[0]
    found = load(tmp_path, example)
    assert found.users is not None
    assert len(found.users.access.rules) == 3
    keys = {line.split(":")[0].strip(" -") for line in example.splitlines() if line.partition("#")[0].strip()}
    assert set(ConfigurationFile.model_json_schema()["properties"]) <= keys


def test_users_are_asked_for_with_one_key(tmp_path: Path) -> None:
    everybody = Rule(repository="**", users=frozenset({"*"}), actions=ALL_ACTIONS)
    assert load(tmp_path, "auth: {}").users == Users(access=Access((everybody,)))


def test_users_and_rules(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        """
auth:
  htpasswd: people/users
  anonymous: pull
  groups: {dev: [ann, bob@example.org], empty: []}
  access:
    - {repository: "team/**", users: [ann], groups: [dev], actions: [pull, push]}
    - {repository: app-*, users: ["*", anonymous], actions: ["*"]}
  token: {lifetime: 1h, refresh: 30d, service: registry.example}
""",
    ).users
    pull = frozenset({Action.PULL})
    assert found == Users(
        htpasswd=tmp_path / "people/users",
        access=Access(
            (
                Rule(
                    repository="team/**",
                    users=frozenset({"ann"}),
                    groups=frozenset({"dev"}),
                    actions=pull | {Action.PUSH},
                ),
                Rule(repository="app-*", users=frozenset({"*", "anonymous"}), actions=ALL_ACTIONS),
                Rule(repository="**", users=frozenset({"anonymous"}), actions=pull),
            ),
            {"dev": frozenset({"ann", "bob@example.org"}), "empty": frozenset()},
        ),
        service="registry.example",
        token_seconds=3600,
        refresh_seconds=30 * 86400,
    )


def test_certificates_and_another_place_for_blobs(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        """
public_url: https://registry.example:8443/sub/
tls: {certificate: tls/cert.pem, key: /etc/key.pem, client_ca: ca.pem}
redirect: {url: "https://cdn.example/blobs/", secret: s3cret, expires: 10m, from: [10.0.0.0/8]}
""",
    )
    assert found.public_url == "https://registry.example:8443/sub"
    assert found.tls == Tls(
        certificate=tmp_path / "tls/cert.pem", key=Path("/etc/key.pem"), client_ca=tmp_path / "ca.pem"
    )
    assert found.redirect == Redirect(
        url="https://cdn.example/blobs", secret="s3cret", seconds=600, clients=("10.0.0.0/8",)
    )
    assert Configuration.from_json(found.to_json()) == found


def test_the_environment_reaches_into_sections(tmp_path: Path) -> None:
    environment = {
        "LAYERKIT_REGISTRY_AUTH_HTPASSWD": "users",
        "LAYERKIT_REGISTRY_AUTH_TOKEN_LIFETIME": "5m",
        "LAYERKIT_REGISTRY_TLS_KEY": "/run/key.pem",
        "LAYERKIT_REGISTRY_REDIRECT_SECRET": "a: 'b'",
        "LAYERKIT_REGISTRY_REDIRECT_FROM": "10.0.0.0/8, ::1",
        "LAYERKIT_REGISTRY_PUBLIC_URL": "http://x",
    }
    text = """
auth: {htpasswd: file, anonymous: pull, token: {service: x}}
tls: {certificate: cert.pem}
redirect: {url: http://cdn}
"""
    found = load(tmp_path, text, environment)
    assert found.users is not None
    assert (found.users.htpasswd, found.users.service, found.users.token_seconds) == (Path("users"), "x", 300)
    assert len(found.users.access.rules) == 2
    assert found.tls == Tls(certificate=tmp_path / "cert.pem", key=Path("/run/key.pem"))
    assert found.redirect == Redirect(url="http://cdn", secret="a: 'b'", clients=("10.0.0.0/8", "::1/128"))
    assert found.public_url == "http://x"


def test_the_environment_is_above_the_file_and_the_command_line_above_both(tmp_path: Path) -> None:
    text = "listen: 127.0.0.1:1\nworkers: 2\nlog: {format: json, level: error}\n"
    environment = {
        "LAYERKIT_REGISTRY_LISTEN": "127.0.0.1:2",
        "LAYERKIT_REGISTRY_WORKERS": "3",
        "LAYERKIT_REGISTRY_LOG_LEVEL": "debug",
        "LAYERKIT_REGISTRY_WARNINGS": "it's, two",
        "REGISTRY_ROOT": "not ours",
    }
    found = load(tmp_path, text, environment, workers=4)
    assert (found.listen.port, found.workers, found.root) == (2, 4, DEFAULT_ROOT)
    assert (found.log_format, found.log_level) == (LogFormat.JSON, LogLevel.DEBUG)
    assert found.warnings == ("it's", "two")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("lisen: 1", "registry.yaml:1:1: unknown key 'lisen'"),
        ("workers: 0", "registry.yaml:1:10: "),
        ("workers: many", "registry.yaml:1:10: "),
        ("listen: 5000", "registry.yaml:1:9: '5000' is no address"),
        ("drain: 5", "registry.yaml:1:8: "),
        ("log: {format: xml}", "registry.yaml:1:15: expected one of logfmt, json, found 'xml'"),
        ("trusted_proxies: [everybody]", "registry.yaml:1:19: 'everybody' is no network"),
        ("root: [", "registry.yaml:"),
        ("auth:", "registry.yaml:1:1: `auth` has no value"),
        ("auth: {user: x}", "registry.yaml:1:8: unknown key 'user' in auth"),
        ("auth: {anonymous: push}", "registry.yaml:1:19: expected one of none, pull, found 'push'"),
        ("auth: {token: {lifetime: 1m}}", "registry.yaml:1:26: expected 5m to 1d, found 1m"),
        ("auth: {token: {service: 'a\"b'}}", "registry.yaml:1:25: 'a\"b' is no name of a service"),
        ("auth: {groups: {dev: [a:b]}}", "registry.yaml:1:23: 'a:b' is no name of a user"),
        ("auth: {groups: {dev: [anonymous]}}", "registry.yaml:1:23: no user can be called 'anonymous'"),
        ("auth: {access: [{repository: A, users: [a], actions: [pull]}]}", "registry.yaml:1:30: 'A' is no pattern"),
        ("auth: {access: [{repository: /a, users: [a], actions: [pull]}]}", "registry.yaml:1:30: '/a' is no pattern"),
        ("auth: {access: [{repository: a, actions: [pull]}]}", "registry.yaml:1:17: the rule is for nobody"),
        (
            "auth: {access: [{repository: a, users: [b], actions: [write]}]}",
            "registry.yaml:1:55: expected one of pull, push, delete, or * for all, found 'write'",
        ),
        ("auth: {access: [{repository: a, users: [b]}]}", "registry.yaml:1:17: missing key `actions`"),
        (
            "auth: {groups: {ops: [c]}, access: [{repository: a, groups: [dev], actions: [pull]}]}",
            "registry.yaml:1:62: there is no group 'dev'",
        ),
        ("tls: {certificate: c}", "registry.yaml:1:1: missing key `key` in tls"),
        ("redirect: {secret: c}", "registry.yaml:1:1: missing key `url` in redirect"),
        ("redirect: {url: cdn, secret: c}", "registry.yaml:1:17: 'cdn' is no URL of a server"),
        ("public_url: 'http://a?b'", "registry.yaml:1:13: 'http://a?b' is no URL of a server"),
        ("public_url: 'http://[x'", "registry.yaml:1:13: 'http://[x' is no URL of a server"),
        ("public_url: 'http://a:99999'", "registry.yaml:1:13: 'http://a:99999' is no URL of a server"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(DocumentError) as caught:
        load(tmp_path, text)
    assert problem in str(caught.value)


def test_a_mistake_in_the_environment_is_told_too(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"the environment, LAYERKIT_REGISTRY_\*:1:\d+: unknown key 'lisen'"):
        load(tmp_path, None, {"LAYERKIT_REGISTRY_LISEN": "x"})


@pytest.mark.parametrize("text", ["", "5000", "host", "host:", "host:65536", "::1:80", "host:-1", "host:８０"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_address(text)


def test_a_configuration_goes_to_a_worker_and_comes_out_the_same(tmp_path: Path) -> None:
    configuration = load(tmp_path, 'metrics: 127.0.0.1:1\nlog: {format: json}\ntrusted_proxies: ["::1"]\n')
    assert Configuration.from_json(configuration.to_json()) == configuration


def test_check_shows_what_a_file_means_or_what_is_wrong_with_it(layerkit: LayerkitProcess, tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text("listen: localhost:80\n")
    assert json.loads(layerkit("registry", "config", "check", path).stdout)["listen"] == {
        "host": "localhost",
        "port": 80,
    }
    path.write_text("listen: localhost\n")
    done = layerkit("registry", "config", "check", path, check=False)
    assert done.code == 2
    assert f"{path}:1:9: 'localhost' is no address" in done.stderr


def test_check_looks_into_the_files_that_are_named(layerkit: LayerkitProcess, tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    (tmp_path / "users").write_text("ann:plain\n")
    for text, problem in (
        ("auth: {htpasswd: users}", f"{tmp_path}/users:1:1: the password of 'ann' is no bcrypt hash"),
        ("tls: {certificate: none.pem, key: users}", f"{tmp_path}/none.pem: cannot be used: no such file"),
    ):
        path.write_text(text)
        done = layerkit("registry", "config", "check", path, check=False)
        assert (done.code, problem in done.stderr) == (2, True)


def test_check_keeps_a_secret(layerkit: LayerkitProcess, tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text("redirect: {url: http://cdn, secret: hush-hush}\n")
    out = layerkit("registry", "config", "check", path).stdout
    assert "hush-hush" not in out
    assert json.loads(out)["redirect"]["url"] == "http://cdn"


def test_the_schema_names_every_key(layerkit: LayerkitProcess) -> None:
    done = layerkit("registry", "config", "schema")
    assert done.stderr == ""
    schema = json.loads(done.stdout)
    assert set(schema["properties"]) == {
        *("root", "listen", "workers", "drain", "metrics", "log", "warnings", "trusted_proxies", "public_url"),
        *("auth", "tls", "redirect", "limits", "uploads"),
    }
    assert set(schema["$defs"]["AuthSection"]["properties"]) == {"htpasswd", "anonymous", "access", "groups", "token"}
    assert set(schema["$defs"]["RedirectSection"]["properties"]) == {"url", "secret", "expires", "from"}
