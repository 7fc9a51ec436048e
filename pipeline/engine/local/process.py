"""Worker processes: started so that signals and foreign pipe ends stay out, ended so that nothing is left."""

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
"""What multiprocessing says of a worker whose exit status died with the fork server."""
_KILL_TAKES = 1.0
"""Seconds that a killed process gets to be gone; only one that hangs in the kernel needs more."""


class WorkerProcess:
    """The supervisor's hold on one worker."""

    def __init__(self, process: ForkServerProcess | SpawnProcess, inbox: Inbox, outbox: Outbox) -> None:
        """Own all three; the process has been started."""
        assert process.pid is not None
        self.name = process.name
        self.pid = process.pid
        self.inbox = inbox
        self.outbox = outbox
        self._process = process
        self._told_to_die = False
        self._status = ""

    def kill(self) -> None:
        """SIGKILL: the end of its outbox will say that it is gone. Never sent to one that is gone."""
        self._signal(signal.SIGKILL)

    def abort(self) -> None:
        """SIGABRT: the worker prints its threads' stacks on stderr and dies, unless it is stopped."""
        self._signal(signal.SIGABRT)

    def reap(self, timeout: float) -> str:
        """Let the worker go and say in words how it ended; its outbox should have been read to its end.

        The inbox is closed, which a live worker takes as leave to go; one that is not gone after `timeout`
        seconds is killed. Blocks for `timeout` and one second at most. May be called twice.
        """
        if not self._status:
            self.inbox.close()
            self._status = self._end(timeout)
            self.outbox.close()
            if self._process.exitcode is not None:
                self._process.close()
        return self._status

    def _end(self, timeout: float) -> str:
        """Wait for the end or bring it about."""
        if self.outbox.error:
            self.kill()
            self._process.join(_KILL_TAKES)
            return f"sent what is no message ({self.outbox.error}); killed"
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.kill()
            self._process.join(_KILL_TAKES)
            return "did not leave; killed"
        if self._process.exitcode == _FORK_SERVER_DIED:
            self.kill()
            return "unknown: the fork server died; killed"
        return _describe(self._process.exitcode, told_to_die=self._told_to_die)

    def _signal(self, number: signal.Signals) -> None:
        """Send `number` unless the process is known to be gone: its pid may be another's by now."""
        if not self._status and self._process.exitcode in (None, _FORK_SERVER_DIED):
            self._told_to_die = True
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _describe(code: int, *, told_to_die: bool) -> str:
    """An exit status in words."""
    if code >= 0:
        return f"exit status {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    guess = "; perhaps out of memory" if name == "SIGKILL" and not told_to_die else ""
    return f"killed by {name}{guess}"


def start_worker(ctx: Context, name: str, setup: Setup) -> WorkerProcess:
    """Start one worker; blocks until the process exists, not until it is ready.

    Args:
        ctx: from `context`.
        name: for logs: "transfer-2".
        setup: what the worker is told.

    Raises:
        MachineError: no process can be had here.
    """
    with suppress(OSError, EOFError):
        return _start(ctx, name, setup)
    try:
        # A fork server that died is replaced by the start after the one that met its death.
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
    """Let all go at once; those that are not gone after `timeout` seconds in all are killed.

    Returns:
        How each ended, in words, in order.
    """
    for worker in workers:
        worker.inbox.close()
    end = time.monotonic() + timeout
    return [worker.reap(max(0.0, end - time.monotonic())) for worker in workers]
