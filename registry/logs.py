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

    The lines are formatted here and written once for each turn of the event loop: the logging package would take as
    long as answering a small request does.
    """

    def __init__(self, write: Callable[[str], object], *, as_json: bool, errors_alone: bool = False) -> None:
        self._write = write
        self._as_json = as_json
        self._errors_alone = errors_alone
        self._lines: list[str] = []

    def began(self, handler: str) -> None:
        pass

    def ended(self, observation: Observation) -> None:
        is_fault = observation.status >= 500
        if self._errors_alone and not is_fault:
            return
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self._lines.append(self._format(observation, "error" if is_fault else "info"))

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        self._write("".join(lines))

    def _format(self, seen: Observation, level: str) -> str:
        quote = _json if self._as_json else _logfmt
        now = time.time()
        milliseconds = int(now * 1000) % 1000
        moment = f"{_format_second(int(now))}.{milliseconds:03d}Z"
        pairs = [
            ("id", quote(seen.id)),
            ("remote", quote(seen.remote)),
            ("method", quote(seen.method)),
            ("path", quote(seen.path)),
            ("status", str(seen.status)),
            ("duration_ms", f"{seen.seconds * 1000:.1f}"),
            ("received", str(seen.received)),
            ("sent", str(seen.sent)),
        ]
        if seen.user:
            pairs.append(("user", quote(seen.user)))
        if seen.repository:
            pairs.append(("repository", quote(seen.repository)))
        if seen.reference:
            pairs.append(("reference", quote(seen.reference)))
        if seen.error:
            pairs.append(("error", quote(seen.error)))
        if seen.agent:
            pairs.append(("agent", quote(seen.agent)))
        if self._as_json:
            fields = ",".join([f'"{name}":{value}' for name, value in pairs])
            return f'{{"time":"{moment}","level":"{level}","msg":"request",{fields}}}\n'
        fields = " ".join([f"{name}={value}" for name, value in pairs])
        return f"time={moment} level={level} msg=request {fields}\n"


@lru_cache(maxsize=2)
def _format_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


@lru_cache(maxsize=1024)
def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@lru_cache(maxsize=1024)
def _logfmt(value: object) -> str:
    text = str(value)
    return text if _PLAIN.match(text) else json.dumps(text, ensure_ascii=False)
