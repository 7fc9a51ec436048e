"""Three renderings of an event: text for people, logfmt for grep, JSON for programs.

logfmt lines are the original tool's lines with our fields appended. JSON lines follow OpenTelemetry's log
data model (https://opentelemetry.io/docs/specs/otel/logs/data-model/) in snake case: timestamp, severity,
event name and body are fields of the record, `service.*` and `process.pid` its resource, all others its
attributes.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal

from pipeline import __version__
from pipeline.log.event import printable
from pipeline.log.fields import FIELDS, PREFIX
from pipeline.log.wording import sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.log.event import Event, Level, Value

LogFormat = Literal["text", "logfmt", "json"]
FORMATS: tuple[LogFormat, ...] = ("text", "logfmt", "json")

SEVERITIES: Mapping[Level, tuple[str, int]] = {
    "debug": ("DEBUG", 5),
    "info": ("INFO", 9),
    "warning": ("WARN", 13),
    "error": ("ERROR", 17),
}
"""SeverityText and SeverityNumber of OpenTelemetry's log data model."""
_BARE = re.compile(r"[A-Za-z0-9_./:@+,-]+")
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode
"""ASCII: file names may hold lone surrogates, which UTF-8 cannot encode."""


class Renderings:
    """Renders the events of one run as lines without a newline.

    Args:
        run: the run's name.
        pid: the supervisor's process ID.
    """

    def __init__(self, *, run: str, pid: int) -> None:
        """See the class."""
        self._run = run
        self._pid = pid

    def choose(self, form: LogFormat, *, is_terminal: bool) -> Callable[[Event, float], bytes]:
        """The function that renders an event; its second argument is the time in seconds since 1970."""
        if form == "json":
            return self.json
        if form == "logfmt":
            return self.logfmt
        return self.short if is_terminal else self.text

    def short(self, event: Event, time: float) -> bytes:
        """`14:21:10 warning message`, for a terminal."""
        return f"{_local(time)[11:19]} {event.level:7} {printable(sentence(event))}".encode()

    def text(self, event: Event, time: float) -> bytes:
        """`2026-11-24T14:21:10.250+01:00 warning message [run=7f3a pid=4211 stage=transfer]`."""
        return f"{_local(time)} {event.level:7} {printable(sentence(event))} [{self._where(event)}]".encode()

    def logfmt(self, event: Event, time: float) -> bytes:
        """`time="..." level=info msg="..." event=image.done run=7f3a pid=4211 stage=resolve bytes=4821`."""
        head = f'time="{_local(time)}" level={event.level} msg={_quoted(sentence(event))} event={event.name}'
        tail = "".join(f" {key}={_value(value)}" for key, value in event.fields.items() if value is not None)
        return f"{head} {self._where(event)}{tail}".encode()

    def _where(self, event: Event) -> str:
        """The run, the process with its machine if that is another one, and the stage if there is one."""
        stage = f" stage={event.stage}" if event.stage else ""
        host = f" host={_value(event.host)} worker={_value(event.worker)}" if event.host else ""
        return f"run={self._run} pid={event.pid or self._pid}{host}{stage}"

    def json(self, event: Event, time: float) -> bytes:
        """One object with the names of `catalogue.FIELDS`."""
        text, number = SEVERITIES[event.level]
        line: dict[str, Value] = {
            "timestamp": datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
            "severity_text": text,
            "severity_number": number,
            "event_name": PREFIX + event.name,
            "body": sentence(event),
            "service.name": "image-syncer",
            "service.version": __version__,
            "service.instance.id": self._run,
            "process.pid": event.pid or self._pid,
        }
        if event.host:
            line["host.name"] = event.host
            line[PREFIX + "worker"] = event.worker
        if event.stage:
            line[PREFIX + "stage"] = event.stage
        for key, value in event.fields.items():
            if key == "registry" and value:
                line.update(_server(str(value)))
            elif value is not None:
                line[attribute(key)] = value
        if "error.type" not in line and event.fields.get("retryable") is not None:
            line["error.type"] = str(event.fields.get("status") or "_OTHER")
        return _encode(line).encode()


@cache
def attribute(key: str) -> str:
    """A field's name in JSON."""
    field = FIELDS.get(key)
    return (field.attribute if field else "") or PREFIX + key


@cache
def _server(registry: str) -> Mapping[str, Value]:
    """`harbor.corp:5000` as OpenTelemetry's `server.address` and, if there is a port, `server.port`."""
    host, colon, port = registry.rpartition(":")
    if colon and port.isdecimal():
        return {"server.address": host.strip("[]"), "server.port": int(port)}
    return {"server.address": registry}


def _local(time: float) -> str:
    """Local time with milliseconds and zone (RFC 3339): `2026-11-24T14:21:10.250+01:00`."""
    seconds, zone = _second(int(time))
    return f"{seconds}.{int(time * 1000) % 1000:03}{zone}"


@lru_cache(maxsize=1)
def _second(whole: int) -> tuple[str, str]:
    """`2026-11-24T14:21:10` and `+01:00`: many lines share one second."""
    stamp = datetime.fromtimestamp(whole).astimezone().isoformat()
    return stamp[:19], stamp[19:]


def _quoted(text: str) -> str:
    """The text in double quotes, escaped as by Go's %q."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{printable(escaped)}"'


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return text if _BARE.fullmatch(text) else _quoted(text)
