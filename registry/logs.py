"""Logs: one structured line for each request and each event, as logfmt or JSON, on standard error."""

import asyncio
import json
import logging
import re
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from registry.observe import Observation

_PLAIN: Final = re.compile(r"[^\s\"=\\\x00-\x1f\x7f]+\Z")


class StructuredFormatter(logging.Formatter):
    """Events: time, level and message, and where there is one the exception."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": f"{_format_second(int(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if self._as_json:
            return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        return " ".join(f"{name}={_logfmt(value)}" for name, value in fields.items())


def configure_logging(*, as_json: bool, level: str) -> None:
    """Send all logs of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(StructuredFormatter(as_json=as_json))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # What it would say is in our own lines.
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


class RequestLog:
    """An Observer that writes one line for each request. Requests that failed by our fault are errors.

    The lines are formatted here, all those of a turn of the event loop together, and written once: the logging package
    would take as long as answering a small request does.
    """

    def __init__(self, write: Callable[[str], object], *, as_json: bool, errors_alone: bool = False) -> None:
        self._write = write
        self._as_json = as_json
        self._fields = _json_fields if as_json else _logfmt_fields
        self._errors_alone = errors_alone
        self._seen: list[Observation] = []

    def began(self, handler: str) -> None:
        pass

    def ended(self, observation: Observation) -> None:
        if self._errors_alone and observation.status < 500:
            return
        if not self._seen:
            asyncio.get_running_loop().call_soon(self._flush)
        self._seen.append(observation)

    def _flush(self) -> None:
        seen, self._seen = self._seen, []
        self._write("".join([self._format(observation) for observation in seen]))

    def _format(self, seen: Observation) -> str:
        level = "error" if seen.status >= 500 else "info"
        moment = f"{_format_second(int(seen.moment))}.{int(seen.moment * 1000) % 1000:03d}Z"
        asked, known = self._fields(
            seen.remote, seen.method, seen.path, seen.user, seen.repository, seen.reference, seen.error, seen.agent
        )
        milliseconds = f"{seen.seconds * 1000:.1f}"
        if self._as_json:
            return (
                f'{{"time":"{moment}","level":"{level}","msg":"request","id":{_json(seen.id)}{asked},'
                f'"status":{seen.status},"duration_ms":{milliseconds},'
                f'"received":{seen.received},"sent":{seen.sent}{known}}}\n'
            )
        return (
            f"time={moment} level={level} msg=request id={_logfmt(seen.id)}{asked} status={seen.status} "
            f"duration_ms={milliseconds} received={seen.received} sent={seen.sent}{known}\n"
        )


_ASKED: Final = ("remote", "method", "path")
_KNOWN: Final = ("user", "repository", "reference", "error", "agent")


# The same clients ask for the same things over and over.
@lru_cache(maxsize=512)
def _json_fields(*values: str) -> tuple[str, str]:
    """What stands before the status, and behind the rest; what is empty is left out."""
    pairs = zip((*_ASKED, *_KNOWN), values, strict=True)
    fields = [f',"{name}":{_json(value)}' if value else "" for name, value in pairs]
    return "".join(fields[: len(_ASKED)]), "".join(fields[len(_ASKED) :])


@lru_cache(maxsize=512)
def _logfmt_fields(*values: str) -> tuple[str, str]:
    pairs = zip((*_ASKED, *_KNOWN), values, strict=True)
    fields = [f" {name}={_logfmt(value)}" if value else "" for name, value in pairs]
    return "".join(fields[: len(_ASKED)]), "".join(fields[len(_ASKED) :])


@lru_cache(maxsize=2)
def _format_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _logfmt(value: object) -> str:
    text = str(value)
    return text if _PLAIN.match(text) else json.dumps(text, ensure_ascii=False)
