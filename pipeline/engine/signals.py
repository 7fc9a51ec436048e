"""Signals as numbers in a pipe: the supervisor's loop reads them when it is ready to.

A handler that does work interrupts the loop anywhere. These handlers do nothing but be there, so that Python
writes the number into the wakeup pipe; the pipe wakes the selector. One press of Ctrl-C may come twice (from
the terminal, and from a parent that forwards it: timeout, make, docker run), hence the debouncing.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType

SAME_PRESS = 0.3
"""Seconds within which a further signal to stop belongs to the one before."""
_STOP = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_HANDLED = (*sorted(_STOP), signal.SIGUSR1)


def _stay(_number: int, _frame: FrameType | None) -> None:
    """Be a handler: Python writes to the wakeup pipe only for signals that have one."""


@contextmanager
def one_press_late(clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Let one press of a signal to stop pass by while the context lasts; main thread only.

    For when all is done and is only to be written down: whoever stops a run at that moment wants that too.
    The next press does what it did before.
    """
    first = float("-inf")

    def pass_by(number: int, _frame: FrameType | None) -> None:
        nonlocal first
        now = clock()
        if first == float("-inf"):
            first = now
        elif now - first >= SAME_PRESS:
            undo.close()
            signal.raise_signal(number)

    with ExitStack() as undo:
        for number in sorted(_STOP):
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:
                signal.signal(number, pass_by)
                undo.callback(signal.signal, number, signal.SIG_DFL if before is None else before)
        yield


class StoppedError(BaseException):
    """A signal to stop came; no Exception, as KeyboardInterrupt is none: nothing takes it for a failure."""

    def __init__(self, number: int) -> None:
        """`number`: the signal's."""
        super().__init__(number)
        self.number = number


@contextmanager
def raised() -> Iterator[None]:
    """Have signals to stop raise StoppedError while the context lasts, so that folders are removed.

    For what comes before and after Signals; main thread only. The first one counts: what follows must not
    break off what it has begun to remove.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in _STOP:
            signal.signal(each, signal.SIG_IGN)
        raise StoppedError(number)

    with ExitStack() as undo:
        for number in sorted(_STOP):
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:
                signal.signal(number, stop)
                undo.callback(signal.signal, number, signal.SIG_DFL if before is None else before)
        yield


class Signals:
    """INT, TERM, HUP and USR1 as numbers to read, while the context lasts; main thread only.

    HUP stays ignored where it was ignored at the start: nohup means it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: clock: seconds from any beginning, never backwards."""
        self._clock = clock
        self._last_press = float("-inf")
        self._undo = ExitStack()
        self._reader = -1

    def __enter__(self) -> Self:
        """Put the handlers in place.

        Raises:
            ValueError: this is not the main thread; nothing has changed then.
        """
        with ExitStack() as undo:
            self._reader, writer = os.pipe()
            for end in (self._reader, writer):
                undo.callback(os.close, end)
                os.set_blocking(end, False)
            before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
            undo.callback(signal.set_wakeup_fd, before)
            for number in _HANDLED:
                if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                    continue
                handler = signal.signal(number, _stay)
                undo.callback(signal.signal, number, signal.SIG_DFL if handler is None else handler)
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore handlers and wakeup descriptor, close the pipe."""
        self._undo.close()

    def fileno(self) -> int:
        """Readable when a signal has come; for a selector."""
        return self._reader

    def read(self) -> list[int]:
        """The signals since the last call, in order, one for each press; never blocks."""
        try:
            numbers = os.read(self._reader, 4096)
        except BlockingIOError:
            return []
        return [number for number in numbers if number in _HANDLED and self._counts(number)]

    def _counts(self, number: int) -> bool:
        """Whether this is a new press."""
        if number not in _STOP:
            return True
        now = self._clock()
        if now - self._last_press < SAME_PRESS:
            return False
        self._last_press = now
        return True
