"""The cost of one task: requests and bytes, counted on the thread that runs it.

Single requests are only noted for metrics (their time) and for the log at level debug (a line).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.dataclass import dataclass
from pipeline.log import Event, fault_fields, mask
from pipeline.model.cost import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.errors import Fault
    from pipeline.log import Value
    from pipeline.model.cost import RequestTopic

_WHAT: tuple[tuple[str, RequestTopic], ...] = (
    ("/tags/list", "tags"),
    ("/manifests/", "manifest"),
    ("/blobs/uploads/", "upload"),
    ("/blobs/", "blob"),
    ("/referrers/", "referrers"),
)


@dataclass(slots=True)
class Meter:
    """The cost of one task."""

    requests: Counter[str] = field(default_factory=Counter)
    """By registry, including those to its token server and storage."""
    waited: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds from requests to the heads of their answers, by registry, without connecting."""
    read: int = 0
    """Bytes of bodies received."""
    written: int = 0
    """Bytes of bodies sent."""
    events: list[Event] = field(default_factory=list)
    retries: list[tuple[str, str]] = field(default_factory=list)
    """Registry and status, or our code, of each failed attempt that was repeated."""
    asked: list[RequestRecord] = field(default_factory=list)
    """Single requests, if `timed`."""
    timed: bool = False
    debug: bool = False
    """Whether to make events of level debug."""
    planned: int = 0
    """Planned requests among `requests`."""
    pulls_left: dict[str, int] = field(default_factory=dict)
    """By registry with a pull reserve: the remaining pulls that it stated last."""

    def plan(self, registry: str, method: str, *, status: int, what: RequestTopic, times: int = 1) -> None:
        """Count requests that a run would make, with their expected answer."""
        self.requests[registry] += times
        self.planned += times
        asked = RequestRecord(registry, method, status=status, seconds=-1.0, pulls_left=-1, what=what)
        self.asked.extend([asked] * (times if self.timed else 0))

    def note(self, asked: RequestRecord, *, url: str, code: str = "") -> None:
        """Note one request if wanted; `code`: why there was no answer."""
        if self.timed:
            self.asked.append(asked)
        if self.debug:
            place = mask(url).partition("?")[0]
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
        """Add the cost of a part of the task that ran on another thread."""
        self.requests.update(other.requests)
        for registry, seconds in other.waited.items():
            self.waited[registry] += seconds
        self.read += other.read
        self.written += other.written
        self.events += other.events
        self.retries += other.retries
        self.asked += other.asked
        self.pulls_left |= other.pulls_left

    def unask(self, registry: str) -> None:
        """Uncount the last request: it only showed that the registry has no TLS."""
        self.requests[registry] -= 1
        del self.asked[-1:]

    def repeat(self, name: str, fault: Fault, words: str, **fields: Value) -> None:
        """Count a retry after `fault`, and report it as an event of that name."""
        self.retries.append((fault.registry, str(fault.status or fault.code)))
        fields = {**fault_fields(fault), "again": True, **fields}
        self.events.append(Event(name=name, message=words, fields=fields))


def what_of(url: str) -> RequestTopic:
    """What a request is about, by its URL."""
    path = urlsplit(url).path
    return next((what for part, what in _WHAT if path.startswith("/v2/") and part in path), "")


_meter: ContextVar[Meter | None] = ContextVar("meter", default=None)


@contextmanager
def metering(*, timed: bool = False, debug: bool = False) -> Iterator[Meter]:
    """Count the requests of this thread within the block; `timed`, `debug`: note each one."""
    meter = Meter(timed=timed, debug=debug)
    token = _meter.set(meter)
    try:
        yield meter
    finally:
        _meter.reset(token)


def current_meter() -> Meter:
    """The meter of the running task; outside of `metering` one that is discarded."""
    return _meter.get() or Meter()
