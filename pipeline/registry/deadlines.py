"""Deadlines for what a peer sends: the socket of an answer that does not get on is shut down.

A read timeout covers one recv. A peer that sends a byte a minute passes it for ever, inside a header line,
the size of a chunk or a trailer, where only http.client's loops run. One thread per process looks at the
clock for all requests, so that a request pays for an entry in a set.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_TICK = 0.25
"""Seconds between two looks at the clock."""
_STOPPED = 5.0
"""Seconds: a look that took longer was held up by this machine (SIGSTOP), which no peer pays for."""


class OverdueError(TimeoutError):
    """A peer that sends, but does not get on."""


class Deadline:
    """While the block runs, the socket has so many seconds; then it is shut down.

    Args:
        sock: of the connection; None: nothing is watched, for there is no socket any more.
        seconds: from the beginning of the block.

    Raises:
        OverdueError: in place of whatever the block raised or returned after its time.
    """

    __slots__ = ("_seconds", "_sock", "ends", "passed")

    def __init__(self, sock: socket.socket | None, seconds: float) -> None:
        """See the class."""
        self._sock, self._seconds = sock, seconds
        self.ends = 0.0
        self.passed = False
        """Whether the socket was shut down."""

    def __enter__(self) -> Self:
        """Begin."""
        if self._sock is not None:
            self.ends = time.monotonic() + self._seconds
            _watch.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; an answer that was cut off by us is no answer, even where the stack took it for one."""
        if self._sock is not None:
            _watch.remove(self)
        if self.passed:
            raise OverdueError(f"the answer did not get on within {self._seconds:g} s") from None

    def expire(self) -> None:
        """Wake who reads: past TLS, whose own shutdown would take its state away from the reading thread."""
        self.passed = True
        if self._sock is not None:
            outer = getattr(self._sock, "socket", self._sock)  # what urllib3's TLS within a proxy's is on
            with suppress(OSError):
                socket.socket.shutdown(outer, socket.SHUT_RDWR)


class _Watch:
    """The deadlines of this process, and the thread that keeps them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._idle = False
        """Whether the thread waits for something to look after."""
        self._open: set[Deadline] = set()
        self._runs = False

    def add(self, deadline: Deadline) -> None:
        with self._lock:
            self._open.add(deadline)
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, daemon=True, name="deadlines").start()
            elif self._idle:
                self._changed.notify()

    def remove(self, deadline: Deadline) -> None:
        with self._lock:  # the socket may be closed after this, and its number be another's
            self._open.discard(deadline)

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._open:
                    self._idle = True
                    self._changed.wait()
                self._idle = False
            looked = time.monotonic()
            time.sleep(_TICK)
            now = time.monotonic()
            held_up = now - looked if now - looked > _STOPPED else 0.0
            with self._lock:
                for deadline in tuple(self._open):
                    deadline.ends += held_up
                    if deadline.ends < now:
                        self._open.discard(deadline)
                        deadline.expire()


_watch = _Watch()
