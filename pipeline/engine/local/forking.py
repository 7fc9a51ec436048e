"""How worker processes are started here; imports little, so that the fork server can begin at once.

Never forked: a forked worker would inherit the supervisor's ends of its siblings' pipes, and none of them
would see end-of-file when the supervisor is killed. With the fork server, which has imported everything, a
worker starts in 8 ms (spawned: 244 ms).
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
"""Signals that are the supervisor's business, though the terminal sends them to all."""
_PRELOAD = ["pipeline.engine.local.preload"]


def context() -> Context:
    """How workers are started here: by a fork server on Linux, else spawned."""
    if not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(_PRELOAD)
    return found


def warm_up() -> None:
    """Have the fork server begin to import what workers need, while this process reads its records.

    It starts no worker, does not wait, and its server leaves with this process.

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
    """Hold signals back in this thread: the mask is inherited by what is started, down to the workers.

    The resource tracker is started first, and the signals are blocked again after it: its start unblocks INT
    and TERM when it is done (`multiprocessing/resource_tracker.py`, ensure_running).
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)
    try:
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
