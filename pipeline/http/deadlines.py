"""Deadlines for reading from and writing to a peer: when the time is over, the socket is shut down.

A Python timeout covers one recv, so a peer that sends a byte a minute never exceeds it, and it costs a
system call for each recv. So sockets block, and one thread of the process checks the time of all requests,
each of which costs an entry in a set.
"""

from __future__ import annotations

import math
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_TICK = 0.25
"""Seconds between two checks."""
_SUSPENDED = 5.0
"""Seconds: if a check took longer, this process was stopped (SIGSTOP), so deadlines are extended."""


class OverdueError(TimeoutError):
    """The peer took too long."""


class Deadline:
    """A context manager that shuts the socket down after some seconds.

    Args:
        sock: of the connection; None: there is no socket any more.
        seconds: from the start of the block.

    Raises:
        OverdueError: after the deadline, instead of the block's result or exception.
    """

    __slots__ = ("_seconds", "_sock", "ends", "passed")

    def __init__(self, sock: socket.socket | None, seconds: float) -> None:
        """See the class."""
        self._sock, self._seconds = sock, seconds
        self.ends = 0.0
        self.passed = False
        """Whether the socket was shut down."""

    def __enter__(self) -> Self:
        """Start."""
        if self._sock is not None:
            self.ends = time.monotonic() + self._seconds
            _watch.add(self)
        return self

    def restart(self, seconds: float | None = None) -> None:
        """Restart the time, with `seconds`; None: with the same seconds as before."""
        if seconds is not None:
            self._seconds = seconds
        self.ends = time.monotonic() + self._seconds

    def pause(self) -> None:
        """Suspend the deadline until `restart`."""
        self.ends = math.inf

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; a response that we cut off is an error even if http.client accepted it."""
        if self._sock is not None:
            _watch.remove(self)
        if self.passed:
            raise OverdueError(f"no complete response within {self._seconds:g} s") from None

    def expire(self) -> None:
        """Wake the reading thread: shut down below TLS, whose own shutdown would remove its state."""
        self.passed = True
        if self._sock is not None:
            outer = getattr(self._sock, "socket", self._sock)  # of urllib3's TLS within TLS
            with suppress(OSError):
                socket.socket.shutdown(outer, socket.SHUT_RDWR)


class _DeadlineThread:
    """The deadlines of this process, and the thread that checks them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._idle = False
        """Whether the thread waits for a deadline."""
        self._open: set[Deadline] = set()
        self._thread: threading.Thread | None = None

    def add(self, deadline: Deadline) -> None:
        with self._lock:
            self._open.add(deadline)
            if self._thread is None or not self._thread.is_alive():  # a fork has no such thread
                self._thread = threading.Thread(target=self._run, daemon=True, name="deadlines")
                self._thread.start()
            elif self._idle:
                self._changed.notify()

    def remove(self, deadline: Deadline) -> None:
        with self._lock:  # after this the socket may be closed and its descriptor reused
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
            held_up = now - looked if now - looked > _SUSPENDED else 0.0
            with self._lock:
                for deadline in tuple(self._open):
                    deadline.ends += held_up
                    if deadline.ends < now:
                        self._open.discard(deadline)
                        with suppress(Exception):  # the thread must survive
                            deadline.expire()


_watch = _DeadlineThread()
