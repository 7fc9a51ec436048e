"""The start method of worker processes; imports little, so that the fork server can start at once.

Workers are never forked from the supervisor: they would inherit its ends of other workers' pipes, and no
worker would see end-of-file when the supervisor is killed. From the fork server, which has imported
everything, a worker starts in 8 ms (spawned: 244 ms).
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext
from typing import TYPE_CHECKING

from pipeline.engine.local.descriptors import claim_descriptors
from pipeline.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.context import SpawnContext

    Context = ForkServerContext | SpawnContext

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Signals for the supervisor, which a terminal sends to all processes."""
_PRELOAD = ["pipeline.engine.local.preload"]


def context() -> Context:
    """The start method: a fork server on Linux, else spawn."""
    if not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(_PRELOAD)
    return found


def warm_up() -> None:
    """Start the fork server, which imports what workers need while this process reads its records.

    Does not wait for it. The server ends with this process.

    Raises:
        MachineError: this process may have too few files open, or TMPDIR has no room for the server's socket,
            whose whole path may have 107 bytes (unix(7)).
    """
    claim_descriptors()
    if isinstance(context(), ForkServerContext):
        try:
            with signals_blocked():
                forkserver.ensure_running()
        except OSError as error:
            reason = error.strerror or str(error)
            raise MachineError(
                f"no workers can be started: {reason}; set TMPDIR to a folder that can be written to, of a"
                " short name"
            ) from error


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Block signals in this thread: child processes inherit the mask, down to the workers.

    The resource tracker is started first and the signals are blocked again, because starting it unblocks INT
    and TERM (`multiprocessing/resource_tracker.py`, ensure_running).
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)
    try:
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
