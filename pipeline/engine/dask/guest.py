"""The guest of a run in a Dask worker's process: it runs the tasks that visits bring, and keeps the
answers.

Between visits it keeps connections and tokens. If no visit comes for a while, the run is over, dead or
unreachable: other workers may do its tasks, so it gives them up at the next piece of a body.
"""

from __future__ import annotations

import os
import pickle
import threading
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.dataclass import dataclass
from pipeline.engine.dask.visit import PROTOCOL, Sealed
from pipeline.engine.descriptors import affordable_threads, claim_descriptors
from pipeline.engine.packing import pack
from pipeline.engine.worker import Setup, Worker, describe, make_runner
from pipeline.errors import SyncError
from pipeline.model.budget import Grant
from pipeline.model.life_signs import Alive, BootFailed
from pipeline.process import Process, this_process
from pipeline.registry.pacing import PACER
from pipeline.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.engine.dask.recipe import Recipe
    from pipeline.model.messages import Outcome, Task, UploadCheckpoint, WorkerMessage
    from pipeline.stages.run import Runner

PROCESS = uuid.uuid4().hex
"""The name of this process, which is never used again."""
ABANDONED = 15.0
"""Seconds without a visit after which tasks are given up."""
_LINGER = 2.0
"""Seconds that a visit waits for an answer; its return shows that the process is alive."""
_HOME = 16 * MIB
"""Maximum bytes of answers that one visit returns, but at least one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """A worker's introduction."""

    process: str
    """Its name, which is never used again."""
    identity: Process
    threads: int
    """Parallel tasks that it can run."""
    misfit: str = ""
    """Why it cannot work for the run; empty if it can."""
    busy: bool = False
    """Whether it works for another run, and may be free later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """What a visit returns."""

    number: int
    """The number of this visit to the guest, for the order of answers. 0: the guest does not exist."""
    sealed: Sealed


_NO_GUEST = Home(number=0, sealed=Sealed(()))


class AbandonedError(BaseException):
    """No visit has come from the run for too long; a BaseException, so nothing retries."""


class Guest:
    """One run in this process."""

    def __init__(self, run: str) -> None:
        """Start with the run's name only; the first message is its Setup."""
        self.run = run
        self._worker: Worker | None = None
        self._said: list[bytes] = []
        self._taking = threading.Lock()
        """Two visits may bring tasks at the same time."""
        self._changed = threading.Condition()
        self._visits = self._visitors = self._number = 0
        self._last_visit = time.monotonic()
        self._left = False

    @property
    def abandoned(self) -> bool:
        """Whether the run no longer takes its answers."""
        if self._left:
            return True
        return not self._visitors and time.monotonic() - self._last_visit > ABANDONED

    def end(self) -> None:
        """Stop working."""
        self._left = True
        if self._worker is not None:
            self._worker.stop()
        with self._changed:
            self._changed.notify_all()

    def receive(self, messages: Sequence[Any], gather: float) -> Home:
        """Take messages, and wait for answers until there are some or a later visit comes."""
        with self._changed:
            self._visitors += 1
            self._visits += 1
            own = self._visits
            self._changed.notify_all()
        try:
            with self._taking:
                for message in messages:
                    self._take(message)
            return self._collect(own, gather)
        finally:
            with self._changed:
                self._visitors -= 1
                self._last_visit = time.monotonic()

    def _take(self, message: Any) -> None:
        if isinstance(message, Setup):
            self._begin(message)
        elif isinstance(message, Grant):
            PACER.grant(message)
        elif self._worker is not None:
            self._worker.take(message)

    def _begin(self, setup: Setup) -> None:
        """Make the runner, or report why that fails."""
        recipe: Recipe = setup.keyring  # type: ignore[assignment] # what DaskPool puts there
        try:
            PACER.forget_all()
            runner = make_runner(replace(setup, keyring=recipe.open(os.environ)))
            self._worker = Worker(self._send, self._while_wanted(runner), threads=setup.threads)
            self._worker.start()
        except BaseException as error:  # noqa: BLE001 - the supervisor reports it, whatever it is
            self._send(BootFailed(reason=f"the worker cannot start: {describe(error)}"))
        else:
            self._send(Alive())

    def _while_wanted(self, runner: Runner) -> Runner:
        """The runner, which gives up at the next piece once the run no longer takes its answers."""

        def run(
            task: Task,
            on_progress: Callable[[int], None],
            on_checkpoint: Callable[[UploadCheckpoint | None], None],
        ) -> Outcome:
            def go_on(total: int) -> None:
                if self.abandoned:
                    raise AbandonedError
                on_progress(total)

            go_on(0)
            return runner(task, go_on, on_checkpoint)

        return run

    def _send(self, answer: WorkerMessage) -> None:
        """Keep an answer for the next visit that returns.

        Raises:
            Exception: it cannot be sent.
        """
        packed = pack(answer)
        with self._changed:
            self._said.append(packed)
            self._changed.notify_all()

    def _collect(self, own: int, gather: float) -> Home:
        """The answers: those of `gather` seconds after the first, or before the next visit."""
        with self._changed:
            self._changed.wait_for(lambda: self._said or self._visits > own or self._left, _LINGER)
            if self._said:
                self._changed.wait_for(lambda: self._visits > own or self._left, gather)
            size, count = 0, 0
            while count < len(self._said) and (not count or size + len(self._said[count]) <= _HOME):
                size += len(self._said[count])
                count += 1
            said, self._said = self._said[:count], self._said[count:]
            self._number += 1
            return Home(number=self._number, sealed=Sealed(tuple(said)))


_guest: Guest | None = None
"""A process has one guest at a time, since rate limits belong to a process."""
_lock = threading.Lock()


def greet(asked: str, run: str, sealed: Sealed) -> Greeting:
    """See visit.greet; never raises."""
    misfit, threads = "", 1
    try:
        if asked != PROTOCOL:
            misfit = f"it has {PROTOCOL}, this run has {asked}"
        else:
            recipe: Recipe = pickle.loads(sealed.parts[0])  # noqa: S301 - from our own run, over Dask's authenticated channel
            misfit = recipe.misfit(os.environ)
            claim_descriptors()
            threads = affordable_threads()
    except SyncError as error:
        misfit = str(error)
    except Exception as error:  # noqa: BLE001 - a worker's trouble is told in one line
        misfit = describe(error)
    guest = _guest
    busy = guest is not None and guest.run != run and not guest.abandoned
    return Greeting(
        process=PROCESS,
        identity=this_process(),
        threads=threads,
        misfit=misfit,
        busy=busy,
    )


def receive(process: str, run: str, sealed: Sealed, gather: float) -> Home:
    """See visit.visit; never raises: Dask would log the arguments."""
    global _guest  # noqa: PLW0603 - the one guest of the process
    messages = [pickle.loads(part) for part in sealed.parts] if process == PROCESS else []  # noqa: S301 - as above
    with _lock:
        guest = _guest
        if messages and isinstance(messages[0], Setup):
            if guest is not None and guest.run != run and not guest.abandoned:
                return _NO_GUEST
            if guest is not None:
                guest.end()
            guest = _guest = Guest(run)
        if process != PROCESS or guest is None or guest.run != run or guest.abandoned:
            return _NO_GUEST
    return guest.receive(messages, gather)


def leave(process: str, run: str) -> None:
    """See visit.leave."""
    guest = _guest
    if process == PROCESS and guest is not None and guest.run == run:
        guest.end()
