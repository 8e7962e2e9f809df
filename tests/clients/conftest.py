"""The clients as fixtures: one docker for all tests of a process, the others with a store for each test."""

from collections.abc import Iterator

import pytest

from tests.engines import Client, run_buildah, run_docker, run_podman


@pytest.fixture(scope="session")
def docker() -> Iterator[Client]:
    with run_docker() as client:
        yield client


@pytest.fixture
def podman() -> Iterator[Client]:
    with run_podman() as client:
        yield client


@pytest.fixture
def buildah() -> Iterator[Client]:
    with run_buildah() as client:
        yield client


@pytest.fixture
def skopeo() -> Client:
    return Client(("skopeo",))


@pytest.fixture
def umoci() -> Client:
    return Client(("umoci",))
