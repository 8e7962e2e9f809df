"""The token endpoint: `GET /token` with Basic credentials or none, `POST /token` as OAuth 2 has it.

Sources: distribution, docs/content/spec/auth/token.md and oauth.md.
"""

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import web

from layerkit.oci.codec import encode_json
from layerkit.oci.errors import MethodUnsupported, SizeInvalid, Unauthorized, Unsupported
from layerkit.oci.mediatype import strip_parameters
from layerkit.oci.scope import parse_scopes
from registry.auth.gate import Gate
from registry.handlers.authorize import Entrance
from registry.handlers.body import read_chunks

_FORM: Final = "application/x-www-form-urlencoded"
_LARGEST_FORM: Final = 64 * 1024
_MOST_FIELDS: Final = 256
_MOST_SCOPES: Final = 256

Fields = dict[str, list[str]]


async def answer_token(http: web.BaseRequest, entrance: Entrance) -> web.Response:
    """A token for as much as the user may have of what is asked for. Raises OCIError."""
    address = entrance.proxies.client_address(http)
    gate = entrance.gate
    match http.method:
        case "GET":
            fields = _parse_fields(http.raw_path.partition("?")[2])
            user = await gate.sign_in(http.headers.get("Authorization", ""), address)
            is_offline = _last(fields, "offline_token") == "true"
        case "POST":
            fields = _parse_fields(await _read_form(http))
            user = await _sign_in(gate, fields, address)
            is_offline = _last(fields, "access_type") == "offline"
        case _:
            allowed = ["GET", "POST"]
            raise MethodUnsupported(f"{http.method} is not supported here: use GET or POST", details=allowed)
    scopes = parse_scopes(" ".join(fields.get("scope", ())))[:_MOST_SCOPES]
    token = gate.issue(user, scopes)
    answer: dict[str, Any] = {
        # Older clients read the one, newer the other.
        "token": token.text,
        "access_token": token.text,
        "expires_in": token.lifetime,
        "issued_at": datetime.fromtimestamp(token.issued_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if is_offline and (refresh := await gate.issue_refresh(user)) is not None:
        answer["refresh_token"] = refresh
    return web.Response(
        body=encode_json(answer), content_type="application/json", headers={"Cache-Control": "no-store"}
    )


async def _sign_in(gate: Gate, fields: Fields, address: str) -> str:
    kind = _last(fields, "grant_type")
    match kind:
        case "password":
            return await gate.sign_in_with(_last(fields, "username"), _last(fields, "password"), address)
        case "refresh_token":
            return await gate.resume(_last(fields, "refresh_token"))
        case _:
            raise Unsupported(f"grant_type {kind[:32]!r} is not supported: use password or refresh_token")


async def _read_form(http: web.BaseRequest) -> str:
    if strip_parameters(http.headers.get("Content-Type", "")) != _FORM:
        raise Unsupported(f"the request for a token is no form: its Content-Type must be {_FORM}")
    parts, size = [], 0
    async for chunk in read_chunks(http):
        size += len(chunk)
        if size > _LARGEST_FORM:
            raise SizeInvalid(f"the request for a token has more than the {_LARGEST_FORM} bytes allowed")
        parts.append(chunk)
    try:
        return b"".join(parts).decode()
    except UnicodeDecodeError:
        raise Unauthorized("the request for a token is not UTF-8") from None


def _parse_fields(text: str) -> Fields:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise Unsupported(f"the request for a token has more than the {_MOST_FIELDS} fields allowed") from None
    fields: Fields = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields


def _last(fields: Fields, name: str) -> str:
    return fields.get(name, [""])[-1]
