"""Deadlines for what a peer takes and sends: when the time is over, the socket is shut down.

A timeout of Python's covers one recv, which a peer passes for ever that sends a byte a minute, and costs a
call of the system before each. So sockets block, and one thread per process looks at the clock for all
requests: each of them pays for an entry in a set.
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
"""Seconds between two looks at the clock."""
_STOPPED = 5.0
"""Seconds: a look that took longer was held up by this machine (SIGSTOP), which no peer pays for."""


class OverdueError(TimeoutError):
    """A peer that took too long."""


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

    def restart(self, seconds: float | None = None) -> None:
        """Count from now on, and to `seconds`; None: to as many as before."""
        if seconds is not None:
            self._seconds = seconds
        self.ends = time.monotonic() + self._seconds

    def pause(self) -> None:
        """Let it take as long as it takes until `restart`."""
        self.ends = math.inf

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; an answer that was cut off by us is no answer, even where http.client took it for one."""
        if self._sock is not None:
            _watch.remove(self)
        if self.passed:
            raise OverdueError(f"no complete answer within {self._seconds:g} s") from None

    def expire(self) -> None:
        """Wake who waits: past TLS, whose own shutdown would take its state away from the reading thread."""
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
        self._thread: threading.Thread | None = None

    def add(self, deadline: Deadline) -> None:
        with self._lock:
            self._open.add(deadline)
            if self._thread is None or not self._thread.is_alive():  # a forked process has no such thread
                self._thread = threading.Thread(target=self._run, daemon=True, name="deadlines")
                self._thread.start()
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
                        with suppress(Exception):  # nobody else would end the others' waiting
                            deadline.expire()


_watch = _Watch()
