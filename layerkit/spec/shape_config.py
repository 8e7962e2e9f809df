"""The shape of an image's config, in Dockerfile's words."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from layerkit.document.problem import InvalidValue
from layerkit.document.scalars import quote_list
from layerkit.document.types import Duration, ListOf, MapOf, Section, StringList, Text, TextMap
from layerkit.spec import accounts, text
from layerkit.spec.shape_types import AbsolutePath, Count, EnvName, Port, numbered


def _begins_with_its_kind(words: tuple[str, ...]) -> tuple[str, ...]:
    match words:
        case ("NONE",) | ("CMD", _, *_) | ("CMD-SHELL", _):
            return words
        case _:
            message = f"expected CMD and its words, CMD-SHELL and one text, or NONE, found {quote_list(words)}"
            raise InvalidValue(message, f"write {quote_list(('CMD', *words))}" if words else "")


class HealthcheckShape(Section):
    other_words: ClassVar = {"cmd": "test", "command": "test", "period": "interval", "disable": "test"}

    test: Annotated[StringList, AfterValidator(_begins_with_its_kind)]
    """`[CMD, program, argument]`, `[CMD-SHELL, \"text for the shell\"]` or `[NONE]`."""
    interval: Duration | None = None
    """Time between two checks, like `30s`."""
    timeout: Duration | None = None
    """How long a check may take, like `5s`."""
    start_period: Duration | None = None
    """How long after its start a container may fail, like `1m`."""
    start_interval: Duration | None = None
    """Time between two checks in the start period, like `5s`."""
    retries: Count | None = None
    """How many failures in a row make a container unhealthy."""


class ConfigShape(Section):
    other_words: ClassVar = {
        "command": "cmd",
        "args": "cmd",
        "environment": "env",
        "environments": "env",
        "working_dir": "workdir",
        "workingdir": "workdir",
        "working-dir": "workdir",
        "cwd": "workdir",
        "ports": "expose",
        "port": "expose",
        "exposedports": "expose",
        "exposed_ports": "expose",
        "uid": "user",
        "run_as": "user",
        "label": "labels",
        "health": "healthcheck",
    }
    elsewhere: ClassVar = {"annotations": "`annotations:` stands beside `config:`"}

    user: Annotated[str, numbered(accounts.parse_user)] | None = None
    """User that runs the container, also with its group: `65532`, `app`, `app:www-data`."""
    workdir: AbsolutePath | None = None
    """Working directory: an absolute path."""
    env: MapOf[EnvName, Text] = Field(default_factory=dict)
    """Environment variables, added to the base's."""
    entrypoint: StringList | None = None
    """Program and first arguments, a list. Without `cmd` it clears the base's `cmd`."""
    cmd: StringList | None = None
    """Default arguments of the entrypoint, or the program itself: a list."""
    expose: ListOf[Port] = ()
    """Ports that the program listens on: `8000`, `53/udp`."""
    volumes: ListOf[AbsolutePath] = ()
    """Paths that hold data which outlives a container."""
    labels: TextMap = Field(default_factory=dict)
    """Labels, added to the base's; the same as `labels:` at the top."""
    stop_signal: Annotated[str, numbered(text.parse_signal)] | None = None
    """Signal that stops the container, like `SIGTERM`."""
    shell: StringList | None = None
    """Shell of commands in shell form, a list."""
    healthcheck: HealthcheckShape | None = None
    """How a runtime finds out whether the container works."""
