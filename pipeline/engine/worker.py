"""The threads of one worker process: they run tasks and send outcomes, wherever the tasks come from."""

from __future__ import annotations

import importlib
import os
import queue
import threading
import time
import traceback
from dataclasses import field, replace
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.log import Event, mask
from pipeline.model.faults import defect, no_memory
from pipeline.model.life_signs import Alive
from pipeline.model.messages import BytesTransferred, TaskFailed, UploadProgress
from pipeline.registry.pacing import PACER

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.model.messages import Outcome, Stage, Task, WorkerMessage
    from pipeline.settings import Settings
    from pipeline.stages.run import Runner

_PROGRESS_EVERY = 0.25
_NO_THREAD = "can't start new thread"
"""Python's message if the system refuses a thread."""
_ALIVE_EVERY = 5.0
_MAX_WORDS = 500
_MAX_TRACE = 8_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A worker's settings: the first message in its inbox, never on a command line."""

    stage: Stage
    threads: int
    """Maximum parallel tasks."""
    settings: Settings
    keyring: object = field(repr=False)
    """Credentials for the runner."""
    runner: str = "pipeline.stages.run:make_runner"
    """`module:function`, imported in the worker and called with settings and keyring to make the Runner."""


def make_runner(setup: Setup) -> Runner:
    """Import and make the runner that the setup names."""
    module, _, name = setup.runner.partition(":")
    runner: Runner = getattr(importlib.import_module(module), name)(setup.settings, setup.keyring)
    return runner


@dataclass(slots=True, kw_only=True)
class _Moving:
    """Progress of one running task in bytes."""

    bytes: int = 0
    reported: int = 0

    def update(self, total: int) -> None:
        """Store the bytes; the progress thread reports them."""
        self.bytes = total


class Worker:
    """The threads of one worker, and the progress of their tasks.

    A thread is started when a task needs it. If this machine refuses one, the existing threads do the work,
    or else the thread that calls `take`.
    """

    def __init__(self, send: Callable[[WorkerMessage], None], runner: Runner, *, threads: int) -> None:
        """Args: send and runner are thread-safe; threads: maximum."""
        self._send = send
        self._runner = runner
        self._most = threads
        self._feed: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        """None ends a thread."""
        self._threads = self._taken = self._answered = 0
        self._running: dict[str, _Moving] = {}
        self._changed = threading.Condition()
        self._last_alive = float("-inf")
        self._stopped = False

    def start(self) -> None:
        """Start the thread that reports progress, and wait for shares of rates from now on."""
        PACER.serve(self._report_use)
        threading.Thread(target=self._tick, daemon=True).start()

    def take(self, task: Task) -> None:
        """Queue a task for the next free thread; for one thread only."""
        self._taken += 1
        self._feed.put(task)
        if self._threads < min(self._taken - self._answered, self._most):
            try:
                threading.Thread(target=self._serve, daemon=True).start()
                self._threads += 1
            except RuntimeError:
                if not self._threads:
                    self._feed.get()
                    self.run_task(task)

    def stop(self) -> None:
        """End the threads when their current tasks are over: this process has other work to do."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        for _ in range(self._threads):
            self._feed.put(None)

    def run_task(self, task: Task) -> None:
        """Run one task and send its outcome; no message about it follows.

        There is no message for its start: that would cost as much as a request.
        """
        moving = _Moving()
        with self._changed:
            self._running[task.key] = moving
            self._changed.notify()
        try:
            outcome = self._runner(
                task, moving.update, lambda to: self._send(UploadProgress(key=task.key, session=to))
            )
        except BaseException as error:  # noqa: BLE001 - every task needs an outcome
            outcome = task_failed(task, error)
        outcome = _with_origin(outcome, task.stage)
        with self._changed:
            del self._running[task.key]
            self._answered += 1
        try:
            self._send(outcome)
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - too large, or not picklable: nothing was sent
            self._send(task_failed(task, error))

    def report_progress(self, now: float) -> None:
        """Send BytesTransferred for each task with new bytes, and Alive every 5 s while any task runs.

        Sending holds the lock, so no BytesTransferred follows its task's outcome.

        Args:
            now: seconds of the monotonic clock.
        """
        with self._changed:
            for key, moving in self._running.items():
                sent = moving.bytes
                if sent != moving.reported:
                    moving.reported = sent
                    self._send(BytesTransferred(key=key, sent=sent))
            if PACER.is_active:
                self._report_use()
            if self._running and now - self._last_alive >= _ALIVE_EVERY:
                self._last_alive = now
                self._send(Alive())

    def _report_use(self) -> None:
        """Send what shares of rates were used for."""
        report = PACER.report()
        if report is not None:
            self._send(report)

    def _serve(self) -> None:
        try:
            while (task := self._feed.get()) is not None:
                self.run_task(task)
        except BrokenPipeError:
            os._exit(0)

    def _tick(self) -> None:
        try:
            while not self._stopped:
                with self._changed:
                    self._changed.wait_for(lambda: self._running or self._stopped)
                time.sleep(_PROGRESS_EVERY)
                self.report_progress(time.monotonic())
        except BrokenPipeError:
            os._exit(0)


def _with_origin(outcome: Outcome, stage: Stage) -> Outcome:
    """The outcome with stage and pid in its events."""
    if not outcome.events:
        return outcome
    events = tuple(replace(event, stage=stage, pid=os.getpid()) for event in outcome.events)
    return replace(outcome, events=events)


def task_failed(task: Task, error: BaseException) -> TaskFailed:
    """The outcome of a task that raised or cannot be sent: a lack of memory or threads, or a bug."""
    if isinstance(error, MemoryError) or str(error) == _NO_THREAD:
        return TaskFailed(key=task.key, fault=no_memory())
    trace = mask("".join(traceback.format_exception(error)))[-_MAX_TRACE:]
    event = Event(name="task.broken", message=trace, level="debug", fields={"key": task.key})
    return TaskFailed(key=task.key, fault=defect(describe(error)), events=(event,))


def describe(error: BaseException) -> str:
    """Class and text on one line, at most 500 characters, without secrets."""
    return mask(" ".join(f"{type(error).__name__}: {error}".split()))[:_MAX_WORDS]
