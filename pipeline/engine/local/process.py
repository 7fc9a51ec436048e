"""Start worker processes with signals blocked and only their own pipe ends, and end them."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from pipeline.engine.local.forking import signals_blocked
from pipeline.engine.local.queues import Inbox, Outbox
from pipeline.engine.local.worker import Setup, main
from pipeline.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.context import ForkServerProcess, SpawnProcess

    from pipeline.engine.local.forking import Context

_FORK_SERVER_DIED = 255
"""multiprocessing's exit code of a worker if the fork server died, so the real one is unknown."""
_KILL_TAKES = 1.0
"""Seconds to wait for a killed process; only one that hangs in the kernel needs more."""


class WorkerProcess:
    """The supervisor's side of one worker."""

    def __init__(self, process: ForkServerProcess | SpawnProcess, inbox: Inbox, outbox: Outbox) -> None:
        """Own all three; the process has been started."""
        assert process.pid is not None
        self.name = process.name
        self.pid = process.pid
        self.inbox = inbox
        self.outbox = outbox
        self._process = process
        self._killed_by_us = False
        self._status = ""

    def kill(self) -> None:
        """Send SIGKILL, if it still runs; end-of-file of the outbox follows."""
        self._signal(signal.SIGKILL)

    def abort(self) -> None:
        """Send SIGABRT: the worker prints its threads' stacks to stderr and dies, unless it is stopped."""
        self._signal(signal.SIGABRT)

    def reap(self, timeout: float) -> str:
        """End the worker and return its exit status in words; its outbox should have been read to the end.

        Closing the inbox tells a live worker to exit; after `timeout` seconds it is killed. Blocks for at
        most `timeout` and one second. May be called twice.
        """
        if not self._status:
            self.inbox.close()
            self._status = self._end(timeout)
            self.outbox.close()
            if self._process.exitcode is not None:
                self._process.close()
        return self._status

    def _end(self, timeout: float) -> str:
        """Wait for the exit, or kill it."""
        if self.outbox.error:
            self.kill()
            self._process.join(_KILL_TAKES)
            return f"sent an invalid message ({self.outbox.error}); killed"
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.kill()
            self._process.join(_KILL_TAKES)
            return "did not exit; killed"
        if self._process.exitcode == _FORK_SERVER_DIED:
            self.kill()
            return "unknown: the fork server died; killed"
        return _describe(self._process.exitcode, killed_by_us=self._killed_by_us)

    def _signal(self, number: signal.Signals) -> None:
        """Send `number` unless the process has exited: its pid may be reused."""
        if not self._status and self._process.exitcode in (None, _FORK_SERVER_DIED):
            self._killed_by_us = True
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _describe(code: int, *, killed_by_us: bool) -> str:
    """An exit status in words."""
    if code >= 0:
        return f"exit status {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    guess = "; perhaps out of memory" if name == "SIGKILL" and not killed_by_us else ""
    return f"killed by {name}{guess}"


def start_worker(ctx: Context, name: str, setup: Setup) -> WorkerProcess:
    """Start one worker; blocks until the process exists, not until it is ready.

    Args:
        ctx: from `context`.
        name: for logs: "transfer-2".
        setup: the worker's settings.

    Raises:
        MachineError: no process can be started.
    """
    with suppress(OSError, EOFError):
        return _start(ctx, name, setup)
    try:
        # The first start after the fork server's death fails; the next one starts a new server.
        return _start(ctx, name, setup)
    except (OSError, EOFError) as error:
        raise MachineError(f"cannot start the worker {name}: {error!r}") from error


def _start(ctx: Context, name: str, setup: Setup) -> WorkerProcess:
    inbox_reader, inbox_writer = ctx.Pipe(duplex=False)
    outbox_reader, outbox_writer = ctx.Pipe(duplex=False)
    process = ctx.Process(target=main, name=name, args=(inbox_reader, outbox_writer, setup))
    try:
        with signals_blocked():
            process.start()
    except BaseException:
        inbox_writer.close()
        outbox_reader.close()
        raise
    finally:
        inbox_reader.close()
        outbox_writer.close()
    return WorkerProcess(process, Inbox(inbox_writer), Outbox(outbox_reader))


def stop_all(workers: Sequence[WorkerProcess], *, timeout: float) -> list[str]:
    """End all workers; those that still run after `timeout` seconds in total are killed.

    Returns:
        The exit status of each in words, in order.
    """
    for worker in workers:
        worker.inbox.close()
    end = time.monotonic() + timeout
    return [worker.reap(max(0.0, end - time.monotonic())) for worker in workers]
