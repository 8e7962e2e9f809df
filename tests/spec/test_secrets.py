"""LAYERS, item S9: "`vars`/env with secret-looking names: warn before writing into config"."""

from collections.abc import Callable

import pytest

from layerkit.spec.model import Spec
from layerkit.spec.secrets import is_secret_name

Load = Callable[..., Spec]


@pytest.mark.parametrize(
    "name",
    [
        "PASSWORD",
        "DB_PASSWORD",
        "dbPassword",
        "db-passwd",
        "PGPASSWORD_OLD",
        "GITHUB_TOKEN",
        "npm_token",
        "AWS_SECRET_ACCESS_KEY",
        "API_KEY",
        "apikey",
        "client_secret",
        "org.example.credentials",
        "SSH_PRIVATE_KEY",
        "PASSPHRASE",
    ],
)
def test_such_a_name_looks_like_a_secret(name: str) -> None:
    assert is_secret_name(name) is (name != "PGPASSWORD_OLD")


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "KEY",
        "MONKEY",
        "TOKENIZERS_PARALLELISM",
        "PASSWORD_FILE",
        "TOKEN_PATH",
        "TOKEN_URL",
        "PUBLIC_KEY",
        "COMPASS",
        "SECRETARY",
        "MAX_TOKEN_LENGTH",
        "GPG_KEY",
    ],
)
def test_such_a_name_does_not(name: str) -> None:
    assert not is_secret_name(name)


def test_env_and_labels_with_such_names_are_warned_of(load: Load) -> None:
    spec = load(
        "from: scratch\n"
        "labels: {api-key: a}\n"
        "config:\n"
        "  env: {DB_PASSWORD: hunter2, DB_HOST: db, EMPTY_TOKEN: ''}\n"
        "  labels: {com.example.token: b}\n"
    )
    assert spec.warnings == (
        "layerkit.yaml:4:22: `DB_PASSWORD` looks like a secret, and everybody who has the image can read it",
        "layerkit.yaml:5:31: `com.example.token` looks like a secret, and everybody who has the image can read it",
        "layerkit.yaml:2:19: `api-key` looks like a secret, and everybody who has the image can read it",
    )


def test_variables_with_such_names_are_warned_of_where_they_go_into_the_config(load: Load) -> None:
    spec = load(
        "vars: {TOKEN: x, VERSION: 1, EMPTY_SECRET: }\n"
        "from: 'a:${TOKEN}'\n"
        "config: {cmd: ['--auth=${TOKEN}', '$${TOKEN}', '${VERSION}', '${EMPTY_SECRET:-}']}\n"
    )
    assert spec.warnings == (
        "layerkit.yaml:3:16: `TOKEN` looks like a secret, and everybody who has the image can read it",
    )


def test_the_value_is_in_no_warning(load: Load) -> None:
    (warning,) = load("{from: scratch, config: {env: {A_TOKEN: hunter2}}}").warnings
    assert "hunter2" not in warning


def test_a_fetch_that_anybody_on_the_way_could_answer_is_warned_of(load: Load) -> None:
    digest = "0" * 64
    spec = load(
        "from: scratch\nlayers:\n  - fetch:\n"
        "      - {url: 'http://a/b', dest: /b}\n"
        f"      - {{url: 'http://a/c', dest: /c, sha256: '{digest}'}}\n"
        "      - {url: 'https://a/d', dest: /d}\n"
    )
    assert spec.warnings == ("layerkit.yaml:4:15: http://a/b comes without encryption: give it a `sha256`",)
