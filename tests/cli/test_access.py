"""How registries are reached is said alike, whatever the command."""

import click
import pytest

from layerkit.cli.environment import RegistryType
from layerkit.cli.main import cli

TALKING = ("build", "plan", "explain", "push", "pull", "copy", "rm", "inspect", "ls", "history", "diff", "login")


@pytest.mark.parametrize("name", TALKING)
def test_every_command_that_talks_to_registries_has_the_same_options(name: str) -> None:
    assert isinstance(cli, click.Group)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    options = {option for parameter in command.params for option in parameter.opts}
    assert options >= {"--insecure", "--ca", "--cert", "--key", "--authfile"}


@pytest.mark.parametrize(
    ("text", "domain", "host"),
    [
        ("registry.example", "registry.example", "registry.example"),
        ("localhost:5000", "localhost:5000", "localhost:5000"),
        ("https://registry.example/", "registry.example", "registry.example"),
        ("docker.io", "docker.io", "registry-1.docker.io"),
        ("index.docker.io", "docker.io", "registry-1.docker.io"),
    ],
)
def test_a_registry_is_named_by_its_host(text: str, domain: str, host: str) -> None:
    found = RegistryType().convert(text, None, None)
    assert (found.domain, found.host) == (domain, host)
