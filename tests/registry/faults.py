"""Faults: what the scripted registry does wrong, for which request, and how often.

A fault is plain data (JSON in both directions), so that a test in another process can script the server.
"""

from __future__ import annotations

import itertools
import re
import threading
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tests.registry.log import Entry

Closing = Literal["keep", "close", "drain", "reset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Answer this, and do not perform the request."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    early: bool = False
    """Answer after `read` bytes of the request's body; `closing` then says what happens to the connection."""
    read: int = 0
    closing: Closing = "keep"
    """keep (not with early), close at once, drain the body and then close, reset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Cut the connection."""

    read: int | None = None
    """Bytes of the request's body to read before cutting without performing; None: all."""
    perform: bool = False
    """Perform the request, then send nothing."""
    after: int | None = None
    """Perform the request, send the head and this many bytes of the answer's body. A number above the
    body's length sends everything and then closes without notice, as when an idle connection is closed.
    """
    framing: Literal["length", "chunked", "none"] = "length"
    """How the truncated answer announces its length; chunked: the last chunk is never sent."""
    reset: bool = False
    """Cut with RST instead of FIN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """Pause, then continue normally."""

    seconds: float = 30.0
    """At most; `release` ends it earlier."""
    after: int | None = None
    """Bytes of the answer's body to send first; None: stall before the request is performed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drip:
    """Send the answer's body in small pieces."""

    size: int = 1
    pause: float = 0.01
    """Seconds between pieces; `release` ends the pauses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrupt:
    """Flip the bits of one byte of the answer's body."""

    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """Send bytes after the end that Content-Length announced."""

    body: str = "surplus"


Action = Reply | Drop | Stall | Drip | Corrupt | Extra
_ACTIONS: dict[str, type[Action]] = {
    kind.__name__: kind for kind in (Reply, Drop, Stall, Drip, Corrupt, Extra)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One action for the requests that match."""

    action: Action
    method: str = ""
    """Empty: any."""
    path: str = ""
    """Regular expression that is searched in path?query, as sent."""
    skip: int = 0
    """Matching requests to let pass first."""
    times: int | None = 1
    """Matching requests that get the fault after those; None: all."""


def throttle(*, retry_after: str = "", body: str = "", **match: Any) -> Fault:
    """A 429 with this Retry-After (seconds, a date, or empty for none); `match` as in Fault."""
    headers = {"Retry-After": retry_after} if retry_after else {}
    return Fault(action=Reply(status=429, headers=headers, body=body), **match)


def redirect(location: str, *, status: int = 307, **match: Any) -> Fault:
    """A redirect to `location`; `match` as in Fault."""
    return Fault(action=Reply(status=status, headers={"Location": location}), **match)


def fault_to_json(fault: Fault) -> dict[str, Any]:
    """The fault as JSON; `kind` is the action's class."""
    plain = asdict(fault)
    plain["action"]["kind"] = type(fault.action).__name__
    return plain


def fault_from_json(plain: Mapping[str, Any]) -> Fault:
    """Read the output of `fault_to_json`."""
    action = dict(plain["action"])
    return Fault(**{**plain, "action": _ACTIONS[action.pop("kind")](**action)})


class Faults:
    """The faults that are set, in order; the first one that matches and is not used up applies."""

    def __init__(self) -> None:
        """Start without faults."""
        self._lock = threading.Lock()
        self._set: list[tuple[Fault, re.Pattern[str]]] = []
        self._seen: list[int] = []

    def add(self, fault: Fault) -> None:
        """Add a fault."""
        with self._lock:
            self._set.append((fault, re.compile(fault.path)))
            self._seen.append(0)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._set.clear()
            self._seen.clear()

    def take(self, entry: Entry) -> Action | None:
        """The action for this request, which is counted."""
        if not self._set:
            return None
        with self._lock:
            for number, (fault, path) in enumerate(self._set):
                if fault.method not in ("", entry.method) or not path.search(entry.target):
                    continue
                turn = self._seen[number] - fault.skip
                if fault.times is not None and turn >= fault.times:
                    continue
                self._seen[number] += 1
                if turn >= 0:
                    return fault.action
        return None


def shape(pieces: Iterable[bytes], action: Action | None, wait: Callable[[float], object]) -> Iterator[bytes]:
    """The body as the action changes it: truncated, paused, dripping, corrupt or too long."""
    match action:
        case Drop(after=int(after)):
            yield from _first(pieces, after)
        case Stall(after=int(after), seconds=seconds):
            whole_body = b"".join(pieces)
            yield whole_body[:after]
            wait(seconds)
            yield whole_body[after:]
        case Drip(size=size, pause=pause):
            for piece in pieces:
                for start in range(0, len(piece), size):
                    yield piece[start : start + size]
                    wait(pause)
        case Corrupt(offset=offset):
            whole = bytearray(b"".join(pieces))
            if whole:
                whole[offset] ^= 0xFF
            yield bytes(whole)
        case Extra(body=body):
            yield from itertools.chain(pieces, (body.encode(),))
        case _:
            yield from pieces


def _first(pieces: Iterable[bytes], length: int) -> Iterator[bytes]:
    for piece in pieces:
        if length <= 0:
            return
        yield piece[:length]
        length -= len(piece)
