"""What one task costs: requests and bytes, counted where they happen, on the thread that runs the task.

Single requests are noted only where somebody wants it: metrics their time, the log at level debug a line.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.log import Event, fault_fields
from pipeline.model.messages import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.errors import Fault
    from pipeline.log import Value
    from pipeline.model.messages import RequestTopic

_WHAT: tuple[tuple[str, RequestTopic], ...] = (
    ("/tags/list", "tags"),
    ("/manifests/", "manifest"),
    ("/blobs/uploads/", "upload"),
    ("/blobs/", "blob"),
    ("/referrers/", "referrers"),
)
_SESSION = re.compile(r"(/blobs/uploads/).+")
"""Where an upload goes on is known to whoever began it, and to nobody who reads logs."""


@dataclass(slots=True)
class Meter:
    """What one task costs; filled by all requests of its thread."""

    requests: Counter[str] = field(default_factory=Counter)
    """By registry; those to token servers and storage count for the registry that sent us there."""
    waited: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds from requests to the heads of their answers, by registry; connecting is no part of it."""
    read: int = 0
    """Bytes of bodies received."""
    written: int = 0
    """Bytes of bodies sent."""
    events: list[Event] = field(default_factory=list)
    retries: list[tuple[str, str]] = field(default_factory=list)
    """Registry, and status or word of ours, of each try that was repeated."""
    asked: list[RequestRecord] = field(default_factory=list)
    """Requests one by one, if `timed`."""
    timed: bool = False
    debug: bool = False
    """Whether events of level debug are wanted."""
    planned: int = 0
    """Of the requests: those that were not made."""

    def plan(self, registry: str, method: str, *, status: int, what: RequestTopic, times: int = 1) -> None:
        """Count requests that would be made, and the answer that they would get."""
        self.requests[registry] += times
        self.planned += times
        asked = RequestRecord(registry, method, status=status, seconds=-1.0, pulls_left=-1, what=what)
        self.asked.extend([asked] * (times if self.timed else 0))

    def note(self, asked: RequestRecord, *, url: str, code: str = "") -> None:
        """Take down one request, where somebody wants it; `code`: why no answer came."""
        if self.timed:
            self.asked.append(asked)
        if self.debug:
            parts = urlsplit(url)
            path = _SESSION.sub(r"\1...", parts.path)
            place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"
            fields = {
                "registry": asked.registry,
                "method": asked.method,
                "url": place,
                "status": asked.status or None,
                "code": code or None,
                "duration": round(asked.seconds, 4),
            }
            answer = asked.status or code
            message = f"{asked.method} {place}: {answer} after {asked.seconds * 1000:.0f}ms"
            self.events.append(Event(name="http.request", message=message, level="debug", fields=fields))

    def add(self, other: Meter) -> None:
        """Take in what a part of the task cost that ran on another thread."""
        self.requests.update(other.requests)
        for registry, seconds in other.waited.items():
            self.waited[registry] += seconds
        self.read += other.read
        self.written += other.written
        self.events += other.events
        self.retries += other.retries
        self.asked += other.asked

    def unask(self, registry: str) -> None:
        """Uncount the last request: it only found out which scheme the registry speaks."""
        self.requests[registry] -= 1
        del self.asked[-1:]

    def repeat(self, name: str, fault: Fault, words: str, **fields: Value) -> None:
        """Count, and say in an event of that name, that what met the fault is tried again."""
        self.retries.append((fault.registry, str(fault.status or fault.code)))
        fields = {**fault_fields(fault), "again": True, **fields}
        self.events.append(Event(name=name, message=words, fields=fields))


def what_of(url: str) -> RequestTopic:
    """What a request is about, by its address at a registry."""
    path = urlsplit(url).path
    return next((what for part, what in _WHAT if path.startswith("/v2/") and part in path), "")


_meter: ContextVar[Meter | None] = ContextVar("meter", default=None)


@contextmanager
def metering(*, timed: bool = False, debug: bool = False) -> Iterator[Meter]:
    """Count all requests of this thread within the block; `timed`, `debug`: note each one."""
    meter = Meter(timed=timed, debug=debug)
    token = _meter.set(meter)
    try:
        yield meter
    finally:
        _meter.reset(token)


def current_meter() -> Meter:
    """The meter of the running task; one that nobody reads outside of `metering`."""
    return _meter.get() or Meter()
