"""A registry on a loopback port, and a client that sends what it is told."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from registry.app import run_server
from registry.config import Address, Configuration
from tests.wire import Wire


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    async with AsyncExitStack() as stack:
        configuration = Configuration(root=tmp_path / "registry", listen=Address(port=0), drain_seconds=1)
        address = await stack.enter_async_context(run_server(configuration))
        session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        yield Wire(address, session)
