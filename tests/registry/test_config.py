"""The configuration: four places, each above the one before, and every mistake with its place."""

import json
from pathlib import Path

import pytest

from layerkit.document.problem import DocumentError, InvalidValue
from registry.config import Address, Configuration, LogFormat, LogLevel, load_configuration, parse_address
from tests.programs import LayerkitProcess

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


def test_the_schema_names_every_key(layerkit: LayerkitProcess) -> None:
    schema = json.loads(layerkit("registry", "config", "schema").stdout)
    assert set(schema["properties"]) == {
        *("root", "listen", "workers", "drain", "metrics", "log", "warnings", "trusted_proxies"),
    }
