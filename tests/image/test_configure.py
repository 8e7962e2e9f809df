"""SPEC, "Config": "Env and labels merge with the base's; `entrypoint` without `cmd` clears the base's `cmd`"."""

from types import MappingProxyType
from typing import Any

import pytest

from layerkit.image.configure import configure
from layerkit.image.image import Image
from layerkit.oci.platform import parse_platform
from layerkit.spec.model import Config, Healthcheck

BASE = {
    "User": "base",
    "WorkingDir": "/base",
    "StopSignal": "SIGQUIT",
    "Shell": ["/bin/base"],
    "Entrypoint": ["entry"],
    "Cmd": ["cmd"],
    "Env": ["PATH=/bin", "EMPTY=", "TWO=a=b"],
    "Labels": {"a": "1"},
    "ExposedPorts": {"80/tcp": {}},
    "Volumes": {"/data": {}},
    "Healthcheck": {"Test": ["CMD", "old"], "Interval": 5},
    "OnBuild": ["RUN x"],
}


def configured(base: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    image = Image.empty(parse_platform("linux/amd64")).with_execution(BASE if base is None else base)
    config = Config(**{"env": MappingProxyType({}), "labels": MappingProxyType({}), **fields})
    document: dict[str, Any] = configure(image, config).config.document["config"]
    return document


def changed(**fields: Any) -> dict[str, Any]:
    """What differs from the base; None stands for what is gone."""
    after = configured(**fields)
    return {key: after.get(key) for key in {*BASE, *after} if after.get(key) != BASE.get(key)}


def test_nothing_set_changes_nothing() -> None:
    assert configured() == BASE


def test_nothing_set_leaves_even_the_bytes() -> None:
    image = Image.empty(parse_platform("linux/amd64"))
    config = Config(env=MappingProxyType({}), labels=MappingProxyType({}))
    assert configure(image, config).config.raw == image.config.raw


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"user": "5:6"}, {"User": "5:6"}),
        ({"workdir": "/srv"}, {"WorkingDir": "/srv"}),
        ({"stop_signal": "SIGTERM"}, {"StopSignal": "SIGTERM"}),
        ({"shell": ("/bin/sh", "-c")}, {"Shell": ["/bin/sh", "-c"]}),
        ({"shell": ()}, {"Shell": None}),
        ({"entrypoint": ("x",)}, {"Entrypoint": ["x"], "Cmd": None}),
        ({"entrypoint": ()}, {"Entrypoint": None, "Cmd": None}),
        ({"entrypoint": ("x",), "cmd": ("y",)}, {"Entrypoint": ["x"], "Cmd": ["y"]}),
        ({"entrypoint": ("x",), "cmd": ("cmd",)}, {"Entrypoint": ["x"]}),
        ({"cmd": ("y",)}, {"Cmd": ["y"]}),
        ({"cmd": ()}, {"Cmd": None}),
        ({"expose": ("80/tcp", "53/udp")}, {"ExposedPorts": {"80/tcp": {}, "53/udp": {}}}),
        ({"volumes": ("/data", "/more")}, {"Volumes": {"/data": {}, "/more": {}}}),
        ({"labels": {"a": "2", "b": ""}}, {"Labels": {"a": "2", "b": ""}}),
    ],
)
def test_what_is_set_is_changed_and_nothing_else(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert changed(**fields) == expected


def test_variables_keep_their_order_and_new_ones_follow() -> None:
    """LAYERS, item 40: "`Env` list of `K=V` unique keys"."""
    env = {"NEW": "1", "TWO": "c=d", "PATH": "", "LAST": "x y"}
    assert configured(env=env)["Env"] == ["PATH=", "EMPTY=", "TWO=c=d", "NEW=1", "LAST=x y"]


def test_a_variable_that_the_base_has_twice_is_there_once() -> None:
    assert configured({"Env": ["A=1", "B=1", "A=2"]}, env={"C": "3"})["Env"] == ["A=2", "B=1", "C=3"]


def test_a_healthcheck_replaces_that_of_the_base() -> None:
    """LAYERS, item 40: "Docker-compatible": durations in nanoseconds, and no keys for defaults."""
    check = Healthcheck(test=("CMD", "x"), interval=10**9, start_period=5, start_interval=6, timeout=7, retries=0)
    assert configured(healthcheck=check)["Healthcheck"] == {
        "Test": ["CMD", "x"],
        "Interval": 10**9,
        "Timeout": 7,
        "StartPeriod": 5,
        "StartInterval": 6,
        "Retries": 0,
    }
    assert configured(healthcheck=Healthcheck(test=("NONE",)))["Healthcheck"] == {"Test": ["NONE"]}
