"""Programs named `docker-credential-NAME`, which keep credentials in a keychain.

The verb is their argument, what it is about goes in on stdin, JSON comes out on stdout.
Source: docker/docker-credential-helpers, README ("Development").
"""

import asyncio
from typing import Final

import msgspec

from layerkit.oci.codec import decode_json, encode_json
from layerkit.oci.errors import Unauthorized
from layerkit.remote.auth import Credentials

_NOT_FOUND: Final = "credentials not found"
_SECONDS: Final = 30
_TOKEN_USER: Final = "<token>"  # noqa: S105 - the user name which means that the secret is no password


class _Secret(msgspec.Struct):
    username: str = msgspec.field(name="Username")
    secret: str = msgspec.field(name="Secret")


async def ask_helper(name: str, server: str) -> Credentials | None:
    """What it has for a server. Raises Unauthorized where it fails."""
    out = await _run(name, "get", server, server.encode())
    if out is None:
        return None
    try:
        secret = decode_json(out, _Secret)
    except ValueError as error:
        raise Unauthorized(f"the credential helper docker-credential-{name} did not answer as one: {error}") from error
    if secret.username == _TOKEN_USER:
        return Credentials(identity_token=secret.secret)
    return Credentials(secret.username, secret.secret) if secret.username or secret.secret else None


async def tell_helper(name: str, server: str, credentials: Credentials) -> None:
    """Let it keep them. Raises Unauthorized where it fails."""
    is_token = bool(credentials.identity_token)
    document = {
        "ServerURL": server,
        "Username": _TOKEN_USER if is_token else credentials.username,
        "Secret": credentials.identity_token if is_token else credentials.password,
    }
    await _run(name, "store", server, encode_json(document))


async def clear_helper(name: str, server: str) -> None:
    """Let it forget them, if it has them. Raises Unauthorized where it fails."""
    await _run(name, "erase", server, server.encode())


async def _run(name: str, verb: str, server: str, said: bytes) -> bytes | None:
    """What it answers, or None where it has no such credentials."""
    program = f"docker-credential-{name}"
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            verb,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise Unauthorized(f"the credential helper {program} for {server} cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(_SECONDS):
            out, err = await process.communicate(said)
    except TimeoutError:
        raise Unauthorized(f"the credential helper {program} did not answer for {server}") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return out
    text = (out + err).decode(errors="replace").strip()
    if _NOT_FOUND in text:
        return None
    raise Unauthorized(f"the credential helper {program} failed for {server}: {text[:200]}")
