from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

from pipeline.model.messages import Outcome
from tests.engine.harness import is_gone, of_kind, wait_until_gone
from tests.engine.runners import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.engine.local.process import WorkerProcess
    from tests.engine.test_worker import Begin

ROOT = Path(__file__).parents[2]


class Supervisor:
    """A supervisor in its own process group."""

    def __init__(self, what: str, method: str) -> None:
        """Start it."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.supervise", what, method],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def out(self) -> IO[bytes]:
        """Its standard output."""
        assert self.process.stdout is not None
        return self.process.stdout

    def hear(self) -> object:
        """Its next message."""
        return json.loads(self.out.readline())

    def finish(self) -> tuple[list[object], str, int]:
        """Let it end; returns its last messages, its error output and its exit status."""
        out, err = self.process.communicate(timeout=60.0)
        return [json.loads(line) for line in out.splitlines()], err.decode(), self.process.returncode


@pytest.fixture(params=["fork", "spawn"])
def method(request: pytest.FixtureRequest) -> Iterator[str]:
    """How the supervisor starts its workers."""
    return request.param  # type: ignore[no-any-return] # pytest types it Any


class TestSupervisorKilled:
    def test_no_process_survives(self, method: str) -> None:
        """When the supervisor is killed, its busy workers and the fork server exit."""
        supervisor = Supervisor("stay_busy", method)
        pids = supervisor.hear()
        assert isinstance(pids, list)
        alive = [pid for pid in pids if not is_gone(pid)]
        supervisor.process.kill()
        assert (pids, []) == (alive, wait_until_gone(pids))
        assert supervisor.finish() == ([], "", -signal.SIGKILL)


class TestInterrupted:
    def test_signals_kill_no_starting_worker(self, method: str) -> None:
        """Signals to the whole process group while workers start kill none of them and print nothing."""
        supervisor = Supervisor("run_despite_signals", method)
        assert supervisor.hear() == "armed"
        storm = random.Random(7)
        sent = 0
        while not select.select([supervisor.out], [], [], 0.002)[0]:
            number = storm.choice(
                [signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]
            )
            os.killpg(supervisor.process.pid, number)
            sent += 1
        assert (supervisor.hear(), sent > 10) == ("ready", True)
        assert supervisor.finish() == ([[["exit status 0"] * 3, True]], "", 0)


class TestAborted:
    def test_aborted_worker_prints_stacks(self, method: str) -> None:
        """A worker that is aborted prints where its threads are, and nothing else."""
        said, printed, _ = Supervisor("abort", method).finish()
        assert said == ["killed by SIGABRT"]
        assert printed.startswith("Fatal Python error: Aborted")
        assert "runners.py" in printed
        assert "Traceback" not in printed


class Storm:
    """A minimal supervisor: three workers, each task repeated until it is answered, occasional kills."""

    def __init__(self, begin: Begin, count: int) -> None:
        """Make up tasks, some of them with large answers."""
        self.begin = begin
        self.todo = [ask(f"{'big' if number % 20 == 0 else 'echo'} {number}") for number in range(count)]
        self.given: dict[WorkerProcess, set[str]] = {}
        self.tasks = {task.key: task for task in self.todo}
        self.done: list[str] = []
        self.deaths = 0
        self.random = random.Random(11)

    def run(self) -> None:
        """Run until every task is answered."""
        for _ in range(3):
            self.given[begun := self.begin(threads=4)] = set()
            self.give(begun)
        while len(set(self.done)) < len(self.tasks):
            for worker in select.select([*map(_Readable, self.given)], [], [], 30.0)[0]:
                self.hear(worker.worker)

    def give(self, worker: WorkerProcess) -> None:
        """Keep eight tasks with a worker."""
        while self.todo and len(self.given[worker]) < 8:
            task = self.todo.pop()
            self.given[worker].add(task.key)
            worker.inbox.send(task)

    def hear(self, worker: WorkerProcess) -> None:
        """Take a worker's answers; replace it if it is dead; sometimes kill it."""
        for outcome in of_kind(worker.outbox.read(), Outcome):
            self.done.append(outcome.key)
            self.given[worker].remove(outcome.key)
            if len(self.done) % 10 == 0:
                worker.kill()
        worker.inbox.flush()
        if worker.outbox.at_end:
            assert worker.reap(10.0) == "killed by SIGKILL"
            self.deaths += 1
            self.todo += [self.tasks[key] for key in self.given.pop(worker)]
            worker = self.begin(threads=4)
            self.given[worker] = set()
        self.give(worker)


class _Readable:
    """The worker for a selector key."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker = worker

    def fileno(self) -> int:
        return self.worker.outbox.fileno()


class TestStorm:
    def test_every_task_is_answered(self, begin: Begin) -> None:
        """Each of 200 tasks is answered once, although a worker is killed after every tenth answer."""
        storm = Storm(begin, 200)
        storm.run()
        assert sorted(storm.tasks) == sorted(storm.done)
        assert storm.deaths > 10
