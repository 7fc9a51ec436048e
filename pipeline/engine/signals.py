"""Signals as numbers in a pipe: the supervisor's loop reads them when it is ready.

A handler that does work would interrupt the loop anywhere. These handlers are empty: Python writes the number
into the wakeup pipe, and the pipe wakes the selector. One Ctrl-C may arrive twice (from the terminal, and
from a parent that forwards it: timeout, make, docker run), so signals are debounced.
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
"""Seconds within which a repeated stop signal counts as the same key press."""
_STOP = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_HANDLED = (*sorted(_STOP), signal.SIGUSR1)


def _stay(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: Python writes to the wakeup pipe only for signals with a handler."""


@contextmanager
def ignore_one_stop(clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Ignore one stop signal within the context; main thread only.

    Used while a finished run writes its results: a user who stops it then still wants them. The next signal
    has its normal effect.
    """
    first = float("-inf")

    def ignore(number: int, _frame: FrameType | None) -> None:
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
                signal.signal(number, ignore)
                undo.callback(signal.signal, number, signal.SIG_DFL if before is None else before)
        yield


class StoppedError(BaseException):
    """A stop signal arrived; a BaseException like KeyboardInterrupt, so nothing handles it as a failure."""

    def __init__(self, number: int) -> None:
        """`number`: the signal's."""
        super().__init__(number)
        self.number = number


@contextmanager
def raise_on_stop() -> Iterator[None]:
    """Let stop signals raise StoppedError within the context, so that temporary folders are removed.

    Used before and after Signals; main thread only. Only the first signal raises: later ones must not
    interrupt the cleanup.
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
    """INT, TERM, HUP and USR1 as numbers to read, within the context; main thread only.

    HUP stays ignored if it was ignored at the start, as by nohup.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: clock: monotonic, in seconds."""
        self._clock = clock
        self._last_press = float("-inf")
        self._undo = ExitStack()
        self._reader = -1

    def __enter__(self) -> Self:
        """Install the handlers.

        Raises:
            ValueError: this is not the main thread; nothing has changed.
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
        """Restore handlers and wakeup descriptor, and close the pipe."""
        self._undo.close()

    def fileno(self) -> int:
        """For a selector: readable when a signal has arrived."""
        return self._reader

    def read(self) -> list[int]:
        """The signals since the last call, in order and debounced; never blocks."""
        try:
            numbers = os.read(self._reader, 4096)
        except BlockingIOError:
            return []
        return [number for number in numbers if number in _HANDLED and self._counts(number)]

    def _counts(self, number: int) -> bool:
        """Whether this is a new key press."""
        if number not in _STOP:
            return True
        now = self._clock()
        if now - self._last_press < SAME_PRESS:
            return False
        self._last_press = now
        return True
