"""The supervisor over a pool without processes: how it reacts to the pool's messages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pipeline.engine.pool import WorkerView
from pipeline.engine.supervisor import Supervisor, hosts_of
from pipeline.model.messages import CopyBlob
from pipeline.model.options import ImageOptions
from pipeline.scheduler.scheduler import Scheduler
from pipeline.scheduler.view import HostView
from pipeline.settings import Settings
from tests.engine.answers import answer
from tests.engine.fake_pool import FakePool
from tests.engine.test_supervisor import Store
from tests.unit.scheduler.memory import MemoryFacts
from tests.unit.scheduler.world import MIRROR, SOURCE, rule

if TYPE_CHECKING:
    from pipeline.engine.supervisor import Ending
    from pipeline.log import Event
    from pipeline.model.messages import BytesTransferred, Outcome, Task, UploadProgress


class Run:
    """A run of one tag whose first copy gets no answer; if `dies`, its worker dies."""

    def __init__(self, *, dies: bool, fence: float = 0.0, unable: str = "") -> None:
        """Run it."""
        self.pool = FakePool(self._answer, fence=fence, unable=unable)
        self.moves: list[tuple[float, CopyBlob]] = []
        self.events: list[Event] = []
        self._dies = dies
        settings = Settings()
        facts = MemoryFacts()
        facts.run = "run"
        self.scheduler = Scheduler(
            [rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")],
            run="run",
            facts=facts,
            settings=settings,
            options=ImageOptions(),
            now=time.monotonic(),
        )
        supervisor = Supervisor(
            self.scheduler,
            settings=settings,
            pool=self.pool,
            store=Store(),
            say=self.events.append,
            reopen_log=None,
        )
        self.ending: Ending = supervisor.run()

    def _answer(self, task: Task) -> list[Outcome | BytesTransferred | UploadProgress]:
        if isinstance(task, CopyBlob):
            self.moves.append((time.monotonic(), task))
            if self._dies and len(self.moves) == 1:
                (worker,) = [worker for worker in self.pool.roster() if worker.stage == task.stage]
                self.pool.kill(worker)
                return []
        return [answer(task)]


def begins_with_head(run: Run) -> list[bool]:
    """For each attempt at the first blob, whether it has to begin with a HEAD."""
    first = run.moves[0][1].key
    return [move.ask for _, move in run.moves if move.key == first]


def test_run_needs_only_the_pool_interface() -> None:
    """A run needs only the pool's interface."""
    run = Run(dies=False)

    assert (1, None) == (run.scheduler.figures.copied, run.ending.trouble)


def test_certain_death_repeats_tasks_unchanged() -> None:
    """The tasks of a dead worker are given again unchanged."""
    run = Run(dies=True)

    assert 1 == run.scheduler.figures.copied
    assert len(set(begins_with_head(run))) == 1
    (lost,) = [event for event in run.events if event.name == "worker.lost"]
    assert (lost.stage, lost.fields["reason"]) == ("transfer", "killed")


def test_uncertain_death_delays_tasks() -> None:
    """The tasks of a worker that may still be running wait until it cannot be, then begin with a HEAD."""
    run = Run(dies=True, fence=0.05)

    assert 1 == run.scheduler.figures.copied
    first = run.moves[0][1].key
    times = [at for at, move in run.moves if move.key == first]
    assert times[1] - times[0] >= 0.05
    assert begins_with_head(run)[1]


def test_broken_pool_ends_the_run() -> None:
    """A pool without workers ends the run with its reason."""
    run = Run(dies=False, unable="too many open files")

    assert "too many open files" in str(run.ending.trouble)
    assert not run.scheduler.finished


def test_other_hosts_are_shown() -> None:
    """Other machines are shown by name, with the workers and tasks of each; this machine is not."""
    roster = {
        WorkerView(name="b-1", pid=1, stage="transfer", host="node-2"): 3,
        WorkerView(name="b-2", pid=2, stage="transfer", host="node-2"): 4,
        WorkerView(name="a-1", pid=1, stage="transfer", host="node-1"): 0,
        WorkerView(name="transfer-1", pid=7, stage="transfer"): 5,
    }

    assert hosts_of(roster) == (
        HostView(name="node-1", workers=1, tasks=0),
        HostView(name="node-2", workers=2, tasks=7),
    )
