"""One worker process: reads tasks, runs several at a time on threads, answers.

It owns nothing but its connections and may be killed at any moment. The main thread does nothing but read the
inbox: at end-of-file it leaves at once, whatever the other threads are doing, so that no worker survives a
supervisor that was killed. It holds no end of another worker's pipes: neither the fork server nor a spawned
interpreter hands on what was not passed by name.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import queue
import re
import resource
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from pipeline.engine.local.forking import IGNORED
from pipeline.engine.local.queues import AnswerWriter, TaskReader
from pipeline.errors import Fault
from pipeline.log import Event
from pipeline.model.messages import Alive, BootFailed, BytesMoved, TaskFailed, UploadProgress

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from pipeline.model.messages import Answer, Outcome, Stage, Task, UploadCheckpoint
    from pipeline.settings import Settings

    Runner = Callable[[Task, Callable[[int], None], Callable[[UploadCheckpoint | None], None]], Outcome]
    """Runs one task to its outcome; calls the first function with the bytes moved so far as they move, the
    second with what a registry has confirmed of an upload."""

_PROGRESS_EVERY = 0.25
_NO_THREAD = "can't start new thread"
"""What Python says where the system has none to give."""
_ALIVE_EVERY = 5.0
_MAX_WORDS = 500
_MAX_TRACE = 8_000
_SECRETS = re.compile(
    r"(?<=://)[^/\s@'\"]+(?=@)|(?<=\?)[^\s'\">]+|(?<=Bearer )\S+|(?<=Basic )\S+", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a worker is told when it starts; it travels through a pipe, never on a command line."""

    stage: Stage
    threads: int
    """Tasks that run at a time."""
    settings: Settings
    keyring: object = field(repr=False)
    """Credentials; handed to the runner's maker unseen."""
    runner: str = "pipeline.stages.run:make_runner"
    """`module:function`, imported in the worker and called once with settings and keyring: the Runner."""


def main(inbox: Connection, outbox: Connection, setup: Setup) -> NoReturn:
    """Be a worker until the inbox ends or nobody reads the outbox."""
    _prepare_process()
    with suppress(EOFError, BrokenPipeError, MemoryError):
        _work(TaskReader(inbox), AnswerWriter(outbox), setup)
    os._exit(0)


def _work(tasks: TaskReader, answers: AnswerWriter, setup: Setup) -> NoReturn:
    try:
        worker = Worker(answers.send, _make_runner(setup), threads=setup.threads)
        worker.start()
    except BaseException as error:  # noqa: BLE001 - whatever it is, the supervisor has to learn of it
        answers.send(BootFailed(reason=f"the {setup.stage} worker cannot start: {_describe(error)}"))
        os._exit(1)
    answers.send(Alive())
    while True:
        worker.take(tasks.receive())


def _prepare_process() -> None:
    """Leave signals to the supervisor, print stacks on a crash, never write a core: it holds credentials."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.stderr is not None:
        faulthandler.enable()


def _make_runner(setup: Setup) -> Runner:
    module, _, name = setup.runner.partition(":")
    runner: Runner = getattr(importlib.import_module(module), name)(setup.settings, setup.keyring)
    return runner


@dataclass(slots=True, kw_only=True)
class _Moving:
    """Bytes of one running task."""

    bytes: int = 0
    told: int = 0

    def move(self, total: int) -> None:
        """Take note; the ticker tells it."""
        self.bytes = total


class Worker:
    """The threads of one worker, and what is said of the tasks that run on them.

    A thread has connections of its own, so none is started before a task needs it. Where this machine has
    none to give, those that run do all the work, or else the one that takes tasks in.
    """

    def __init__(self, send: Callable[[Answer], None], runner: Runner, *, threads: int) -> None:
        """Args: send: may be called by any thread; runner: likewise; threads: at most."""
        self._send = send
        self._runner = runner
        self._most = threads
        self._feed: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._threads = self._taken = self._answered = 0
        self._running: dict[str, _Moving] = {}
        self._changed = threading.Condition()
        self._last_alive = float("-inf")

    def start(self) -> None:
        """Begin to tell, for ever, what has moved."""
        threading.Thread(target=self._tick, daemon=True).start()

    def take(self, task: Task) -> None:
        """Have a task run on the next thread that is free; for one thread only."""
        self._taken += 1
        self._feed.put(task)
        if self._threads < min(self._taken - self._answered, self._most):
            try:
                threading.Thread(target=self._serve, daemon=True).start()
                self._threads += 1
            except RuntimeError:
                if not self._threads:
                    self.answer(self._feed.get())

    def answer(self, task: Task) -> None:
        """Run one task: its outcome when it ends, nothing about it afterwards.

        That it begins is not said: a word of each task would cost as much as a request.
        """
        moving = _Moving()
        with self._changed:
            self._running[task.key] = moving
            self._changed.notify()
        try:
            outcome = self._runner(
                task, moving.move, lambda to: self._send(UploadProgress(key=task.key, session=to))
            )
        except BaseException as error:  # noqa: BLE001 - a task that is not answered would wait for ever
            outcome = _failed(task, error)
        with self._changed:
            del self._running[task.key]
            self._answered += 1
        try:
            self._send(outcome)
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - too large, or pickle cannot carry it: nothing was sent
            self._send(_failed(task, error))

    def tell(self, now: float) -> None:
        """Send a Progress for each task whose bytes have changed, and Alive every 5 s while any runs.

        Sending holds the lock, so that no Progress follows its task's outcome.

        Args:
            now: seconds, of the monotonic clock.
        """
        with self._changed:
            for key, moving in self._running.items():
                sent = moving.bytes
                if sent != moving.told:
                    moving.told = sent
                    self._send(BytesMoved(key=key, sent=sent))
            if self._running and now - self._last_alive >= _ALIVE_EVERY:
                self._last_alive = now
                self._send(Alive())

    def _serve(self) -> None:
        try:
            while True:
                self.answer(self._feed.get())
        except BrokenPipeError:
            os._exit(0)

    def _tick(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._running)
                time.sleep(_PROGRESS_EVERY)
                self.tell(time.monotonic())
        except BrokenPipeError:
            os._exit(0)


def _failed(task: Task, error: BaseException) -> TaskFailed:
    """The outcome of a task that ended in an exception: of memory, or one nobody foresaw, a defect."""
    if isinstance(error, MemoryError) or str(error) == _NO_THREAD:
        hint = "a smaller --proc needs less; see ulimit -v and -u, and the limits of the container"
        words = "this machine has too little memory, or too few threads"
        fault = Fault(operation="finish the task", words=words, code="NO_MEMORY", hint=hint, retryable=True)
        return TaskFailed(key=task.key, fault=fault)
    trace = _redact("".join(traceback.format_exception(error)))[-_MAX_TRACE:]
    fault = Fault(
        operation="finish the task",
        words=_describe(error),
        code="INTERNAL",
        hint="a defect of this program; run again with --log-level debug and report the traceback",
    )
    event = Event(name="task.broken", message=trace, level="debug", fields={"key": task.key})
    return TaskFailed(key=task.key, fault=fault, events=(event,))


def _describe(error: BaseException) -> str:
    """Class and text on one line, at most 500 characters, without secrets."""
    return _redact(" ".join(f"{type(error).__name__}: {error}".split()))[:_MAX_WORDS]


def _redact(text: str) -> str:
    """Replace what an exception's text may hold of credentials: userinfo and queries of URLs, headers."""
    return _SECRETS.sub("***", text)
