from __future__ import annotations

import select
import signal
import threading

import pytest

from pipeline.engine.signals import Signals, StoppedError, ignore_one_stop, raise_on_stop
from tests.engine.harness import descriptors


class Clock:
    """A clock that the test sets."""

    now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def send(*numbers: int) -> None:
    """Signal this process; the handlers have run when this returns."""
    for number in numbers:
        signal.raise_signal(number)


def handlers() -> list[object]:
    """The handlers in place."""
    return [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)]


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
    def test_wakes_a_selector(self, number: int) -> None:
        """A signal makes the descriptor readable, is read once, and interrupts nothing."""
        with Signals() as signals:
            before = select.select([signals], [], [], 0)[0]
            send(number)
            after = select.select([signals], [], [], 0)[0]
            assert ([], [signals], [number], []) == (before, after, signals.read(), signals.read())

    def test_two_signals_of_one_key_press(self) -> None:
        """A second stop signal of any kind within 0.3 s of the first counts as the same key press."""
        clock = Clock()
        with Signals(clock) as signals:
            send(signal.SIGINT, signal.SIGINT)
            first = signals.read()
            clock.now += 0.29
            send(signal.SIGTERM, signal.SIGHUP)
            assert (first, signals.read()) == ([signal.SIGINT], [])

    def test_second_key_press_counts(self) -> None:
        """A signal 0.3 s after the last one that counted counts, even if others came in between."""
        clock = Clock()
        heard = []
        with Signals(clock) as signals:
            for _ in range(5):
                send(signal.SIGINT)
                heard.append(signals.read())
                clock.now += 0.16
        assert heard == [[signal.SIGINT], [], [signal.SIGINT], [], [signal.SIGINT]]

    def test_usr1_and_stop_signals_are_independent(self) -> None:
        """USR1 and stop signals do not suppress each other."""
        with Signals(Clock()) as signals:
            send(signal.SIGUSR1, signal.SIGINT, signal.SIGUSR1)
            assert signals.read() == [signal.SIGUSR1, signal.SIGINT, signal.SIGUSR1]

    def test_ignored_hup_stays_ignored(self) -> None:
        """HUP stays ignored if it was ignored at the start."""
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            with Signals() as signals:
                send(signal.SIGHUP)
                assert signals.read() == []
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        finally:
            signal.signal(signal.SIGHUP, before)

    def test_foreign_signals_are_not_reported(self) -> None:
        """Signals that belong to others are not reported."""
        before = signal.signal(signal.SIGUSR2, lambda _number, _frame: None)
        try:
            with Signals() as signals:
                send(signal.SIGUSR2)
                assert signals.read() == []
        finally:
            signal.signal(signal.SIGUSR2, before)

    def test_context_end_restores_handlers(self) -> None:
        """Handlers, wakeup descriptor and pipe are restored when the context ends, also after an error."""
        before = handlers(), descriptors()
        with pytest.raises(KeyError), Signals():
            raise KeyError
        assert before == (handlers(), descriptors())
        assert signal.set_wakeup_fd(-1) == -1

    def test_other_thread_is_refused(self) -> None:
        """Outside the main thread it raises and leaves nothing behind."""
        before, raised = descriptors(), []

        def enter() -> None:
            try:
                Signals().__enter__()
            except ValueError as error:
                raised.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        assert (1, before) == (len(raised), descriptors())


class TestIgnoreOneStop:
    def test_one_key_press_is_ignored(self) -> None:
        """One key press, possibly several signals, is ignored, and the next has its usual effect."""
        clock, before = Clock(), handlers()
        with ignore_one_stop(clock):
            send(signal.SIGINT, signal.SIGTERM, signal.SIGINT)
            clock.now += 0.4
            with pytest.raises(KeyboardInterrupt):
                send(signal.SIGINT)
            assert before == handlers()

    def test_previous_handlers_are_restored(self) -> None:
        """The previous handlers are restored afterwards."""
        before = handlers()
        with ignore_one_stop():
            send(signal.SIGTERM)
        assert before == handlers()

    def test_ignored_signals_stay_ignored(self) -> None:
        """Ignored signals stay ignored, as nohup requires."""
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            with ignore_one_stop():
                assert signal.SIG_IGN is signal.getsignal(signal.SIGHUP)
        finally:
            signal.signal(signal.SIGHUP, before)


class TestRaiseOnStop:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_only_first_stop_signal_raises(self, number: int) -> None:
        """The first stop signal raises an exception with its number, and later ones interrupt nothing."""
        before, cleaned = handlers(), []

        def work() -> None:
            with raise_on_stop():
                try:
                    send(number)
                finally:
                    send(signal.SIGTERM, signal.SIGINT)
                    cleaned.append(True)

        with pytest.raises(StoppedError) as caught:
            work()
        assert (number, [True]) == (caught.value.number, cleaned)
        assert before == handlers()

    def test_nests_around_other_handlers(self) -> None:
        """Signals and ignore_one_stop work inside it and restore its handlers."""
        with raise_on_stop(), ignore_one_stop():
            with Signals() as signals:
                send(signal.SIGTERM)
                assert [signal.SIGTERM] == signals.read()
            send(signal.SIGTERM)
