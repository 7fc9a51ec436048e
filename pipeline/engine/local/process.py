"""One worker process as the supervisor sees it: the fork server starts it, its inbox or a signal ends it."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from pipeline.engine.local.queues import Inbox, Outbox
from pipeline.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.engine.local.fork_server import ForkServer
    from pipeline.engine.worker import Setup

_KILL_TAKES = 1.0
"""Seconds to wait for a killed process; only one that hangs in the kernel needs more."""


class WorkerProcess:
    """The supervisor's side of one worker."""

    def __init__(self, name: str, server: ForkServer, inbox: Inbox, outbox: Outbox) -> None:
        """Own the pipe ends; the server has not been asked yet."""
        self.name = name
        self.pid = 0
        """0: not started yet."""
        self.inbox = inbox
        self.outbox = outbox
        self.status = ""
        """Its exit status in words; empty: it runs, or has not been started."""
        self._server = server
        self._signals: list[signal.Signals] = []
        """Sent by us; those sent before it was started arrive then."""

    def started(self, pid: int) -> None:
        """The process exists."""
        self.pid = pid
        early, self._signals = self._signals, []
        for number in early:
            self._signal(number)

    def exited(self, code: int) -> None:
        """The process has ended, with this exit code; negative: the signal that ended it."""
        self.status = _describe(code, killed_by_us=bool(self._signals))

    def failed(self, reason: str) -> None:
        """There will be no process."""
        self.status = reason

    @property
    def is_lost(self) -> bool:
        """Whether its exit status will stay unknown."""
        return not self.status and self._server.dead

    def kill(self) -> None:
        """Send SIGKILL, if it still runs; end-of-file of the outbox follows."""
        self._signal(signal.SIGKILL)

    def abort(self) -> None:
        """Send SIGABRT: the worker prints its threads' stacks to stderr and dies, unless it is stopped."""
        self._signal(signal.SIGABRT)

    def _signal(self, number: signal.Signals) -> None:
        """Send `number` unless the process is known to have exited: its pid may be reused."""
        if not self.status:
            self._signals.append(number)
            if self.pid:
                with suppress(ProcessLookupError):
                    os.kill(self.pid, number)

    def reap(self, timeout: float) -> str:
        """End the worker and return its exit status in words; its outbox should have been read to the end.

        Closing the inbox tells a live worker to exit; after `timeout` seconds it is killed. Blocks for at
        most `timeout` and one second, and not at all if it has exited. May be called twice.
        """
        self.inbox.close()
        if self.outbox.error:
            self.kill()
        self._server.wait(lambda: self.status, timeout)
        if not self.status:
            words = "unknown: the fork server died; killed" if self.is_lost else "did not exit; killed"
            self.kill()
            self._server.wait(lambda: self.status, _KILL_TAKES)
            self.status = words
        self.outbox.close()
        if self.outbox.error:
            self.status = f"sent an invalid message ({self.outbox.error}); killed"
        return self.status


def _describe(code: int, *, killed_by_us: bool) -> str:
    """An exit status in words."""
    if code >= 0:
        return f"exit status {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    guess = "; perhaps out of memory" if name == "SIGKILL" and not killed_by_us else ""
    return f"killed by {name}{guess}"


def start_worker(server: ForkServer, name: str, setup: Setup) -> WorkerProcess:
    """Have the server start one worker; does not wait for it.

    Args:
        server: starts the process.
        name: for logs: "transfer-2".
        setup: the worker's settings, the first message in its inbox.

    Raises:
        MachineError: there are too few descriptors.
    """
    ends: list[int] = []
    try:
        ends += os.pipe()
        ends += os.pipe()
    except OSError as error:
        for end in ends:
            os.close(end)
        raise MachineError(f"cannot start the worker {name}: {error.strerror}") from error
    inbox_reader, inbox_writer, outbox_reader, outbox_writer = ends
    worker = WorkerProcess(name, server, Inbox(inbox_writer), Outbox(outbox_reader))
    worker.inbox.send(setup)
    server.start(worker, inbox=inbox_reader, outbox=outbox_writer)
    os.close(inbox_reader)
    os.close(outbox_writer)
    return worker


def stop_all(workers: Sequence[WorkerProcess], *, timeout: float) -> list[str]:
    """End all workers; those that still run after `timeout` seconds in total are killed.

    Returns:
        The exit status of each in words, in order.
    """
    for worker in workers:
        worker.inbox.close()
    end = time.monotonic() + timeout
    return [worker.reap(max(0.0, end - time.monotonic())) for worker in workers]
