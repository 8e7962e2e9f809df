"""The implementations of the Repository protocol, each with nothing in it."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import pytest

from layerkit.content.layout import Layout
from layerkit.content.memory import MemoryRegistry
from layerkit.content.store import Store
from layerkit.oci.reference import Reference
from layerkit.oci.repository import Registry
from layerkit.remote.client import Connection, open_client
from layerkit.remote.repository import RemoteRegistry
from registry.app import open_registry, run_server
from registry.config import Address, Configuration


def _reach_nobody(reference: Reference) -> AbstractAsyncContextManager[Registry]:
    pytest.fail(f"{reference} was asked for")


@pytest.fixture(params=["memory", "layout", "store", "local", "remote"])
async def registry(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Registry]:
    async with AsyncExitStack() as stack:
        match request.param:
            case "memory":
                yield MemoryRegistry()
            case "layout":
                yield Layout(tmp_path / "layout", create=True)
            case "store":
                yield Store(tmp_path / "store", _reach_nobody, create=True)
            case "local":
                yield await stack.enter_async_context(open_registry(tmp_path / "registry"))
            case "remote":
                address = await stack.enter_async_context(
                    run_server(Configuration(root=tmp_path / "registry", listen=Address(port=0), drain_seconds=1))
                )
                client = await stack.enter_async_context(open_client(Connection(host=address)))
                yield RemoteRegistry(client)
