"""A registry with users, for tests: ann and bob of an htpasswd file, whatever the rules."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import bcrypt

from layerkit.oci.digest import Digest
from layerkit.oci.scope import Challenge, parse_challenges
from registry.app import run_server
from registry.config.load import load_configuration
from registry.config.values import Address
from tests.wire import Answer, Wire

PASSWORDS = {"ann": "secret of ann", "bob": "b\u00f6b:with:colons"}


def basic(name: str, password: str | None = None) -> dict[str, str]:
    """The header of a user, by default with the right password."""
    pair = f"{name}:{PASSWORDS.get(name, '') if password is None else password}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def challenge_of(answer: Answer) -> Challenge:
    """The one challenge of an answer."""
    [header] = answer.headers.getall("WWW-Authenticate")
    [challenge] = parse_challenges(header)
    return challenge


def htpasswd(**passwords: str) -> str:
    lines = [f"{name}:{bcrypt.hashpw(text.encode(), bcrypt.gensalt(4)).decode()}" for name, text in passwords.items()]
    return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class Guarded(Wire):
    """A Wire that can ask for tokens."""

    folder: Path

    async def ask(self, *scopes: str, headers: dict[str, str] | None = None, **parameters: str) -> Answer:
        pairs = [("service", "registry"), *(("scope", scope) for scope in scopes), *parameters.items()]
        return await self("GET", f"/token?{urlencode(pairs)}", headers=headers)

    async def post(self, **form: str) -> Answer:
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        return await self("POST", "/token", urlencode(form).encode(), headers=headers)

    async def token(self, *scopes: str, user: str = "") -> dict[str, str]:
        """The header with a token for a user, or for the anonymous."""
        answer = await self.ask(*scopes, headers=basic(user) if user else None)
        assert answer.status == 200, answer.body
        return bearer(answer.json["token"])

    async def push_as(self, user: str, name: str, raw: bytes = b"content") -> Digest:
        """Push a blob in one request."""
        digest = Digest.of(raw)
        answer = await self("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", raw, headers=basic(user))
        assert answer.status == 201, answer.body
        return digest


@asynccontextmanager
async def run_guarded(folder: Path, auth: str = "", *, top: str = "") -> AsyncIterator[Guarded]:
    """`auth` are more lines of that section, `top` of the file."""
    folder.mkdir(exist_ok=True)
    (folder / "users").write_text(htpasswd(**PASSWORDS))
    lines = "".join(f"  {line}\n" for line in auth.strip().splitlines())
    (folder / "registry.yaml").write_text(f"root: data\ndrain: 1s\n{top}\nauth:\n  htpasswd: users\n{lines}")
    configuration = load_configuration(
        folder / "registry.yaml", environment={}, default_root=folder, listen=Address(port=0)
    )
    async with run_server(configuration) as address, aiohttp.ClientSession(auto_decompress=False) as session:
        yield Guarded(address, session, folder)
