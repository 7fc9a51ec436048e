"""The log of requests that tests count, and a way to wait for a request instead of sleeping."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(slots=True, kw_only=True)
class Entry:
    """One request; it is logged once its head was read, and completed step by step."""

    method: str
    target: str
    """Path and query as sent."""
    path: str
    """Decoded, without the query."""
    query: str
    headers: dict[str, str]
    """Names in lower case; the last line of a name wins."""
    elsewhere: bool
    """Whether it was sent to the second host."""
    connection: int
    """Number of the connection: equal numbers share one."""
    at: float = field(default_factory=time.monotonic)
    """When its head had been read, by this machine's monotonic clock."""
    length: int = 0
    """Bytes of the body that were read."""
    sha256: str = ""
    """Hexadecimal, of the body that was read."""
    status: int = 0
    """0: not answered (yet)."""
    finished: bool = False
    """Whether it is counted: its answer is decided, or it will never get one."""

    @property
    def parameters(self) -> dict[str, list[str]]:
        """The parsed query."""
        return parse_qs(self.query, keep_blank_values=True)


@dataclass(slots=True)
class Log:
    """All requests since the start or the last reset."""

    keep: bool = True
    """False: only `counts`."""
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Answers by (method, status)."""
    received: int = 0
    """Bytes of bodies read."""
    sent: int = 0
    """Bytes of bodies sent."""
    _entries: list[Entry] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def begin(self, entry: Entry) -> None:
        """Log a request whose head was read."""
        with self._changed:
            if self.keep:
                self._entries.append(entry)
                self._changed.notify_all()

    def finish(self, entry: Entry, *, status: int = 0) -> None:
        """Count the request once, before its answer is sent, so that whoever has the answer finds it here."""
        with self._changed:
            if entry.finished:
                return
            entry.status, entry.finished = status, True
            self.counts[entry.method, status] += 1
            self.received += entry.length
            self._changed.notify_all()

    def count_sent(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Count the pieces, each before it is sent."""
        for piece in pieces:
            with self._changed:
                self.sent += len(piece)
            yield piece

    def clear(self) -> None:
        """Remove all entries and counts."""
        with self._changed:
            self._entries.clear()
            self.counts.clear()
            self.received = self.sent = 0

    def count(self, *, method: str = "", status: int | None = None) -> int:
        """Finished requests that match."""
        with self._changed:
            return sum(
                count
                for (its_method, its_status), count in self.counts.items()
                if method in ("", its_method) and status in (None, its_status)
            )

    def requests(
        self, *, method: str = "", path: str = "", status: int | None = None, elsewhere: bool | None = None
    ) -> list[Entry]:
        """The entries that match, oldest first; `path` is an expression searched in path?query as sent."""
        with self._changed:
            return self._matching(method=method, path=path, status=status, elsewhere=elsewhere)

    def wait_for(
        self,
        count: int = 1,
        *,
        method: str = "",
        path: str = "",
        status: int | None = None,
        seconds: float = 30.0,
    ) -> list[Entry]:
        """Wait until this many requests match (with a status: until they are answered).

        Raises:
            TimeoutError: they did not arrive in time.
        """
        with self._changed:
            if not self._changed.wait_for(
                lambda: len(self._matching(method=method, path=path, status=status)) >= count, timeout=seconds
            ):
                seen = [f"{entry.method} {entry.target} {entry.status}" for entry in self._entries[-20:]]
                raise TimeoutError(f"no {count} x {method} {path} {status} in {seconds} s, but {seen}")
            return self._matching(method=method, path=path, status=status)

    def _matching(
        self, *, method: str, path: str, status: int | None, elsewhere: bool | None = None
    ) -> list[Entry]:
        pattern = re.compile(path)
        return [
            entry
            for entry in self._entries
            if method in ("", entry.method)
            and (status is None or status == entry.status)
            and (elsewhere is None or elsewhere == entry.elsewhere)
            and pattern.search(entry.target)
        ]
