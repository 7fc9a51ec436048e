"""The supervisor with real workers, whose runner answers at once: deaths, silence, boot errors."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.engine.local.pool import LocalPool
from pipeline.engine.supervisor import Supervisor
from pipeline.errors import MachineError
from pipeline.log import sentence
from pipeline.model.options import ImageOptions
from pipeline.scheduler.scheduler import Scheduler
from pipeline.settings import Settings
from tests.engine.answers import BROKEN, RUNNER, TAGS
from tests.unit.scheduler.memory import MemoryFacts
from tests.unit.scheduler.world import MIRROR, SOURCE, rule

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.engine.supervisor import Ending
    from pipeline.log import Event


@dataclass
class Store:
    """Records that count flushes and may refuse them."""

    flushes: int = 0
    full: bool = False
    pending: int = 1

    def flush(self) -> None:
        """Write nothing."""
        self.flushes += 1
        if self.full:
            raise MachineError("records cannot be written: no space left")


@dataclass
class Run:
    """One run, its events and its end."""

    folder: Path
    source: str
    settings: Settings = field(default_factory=Settings)
    runner: str = RUNNER
    store: Store = field(default_factory=Store)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Run it."""
        facts = MemoryFacts()
        facts.run = "run"
        self.scheduler = Scheduler(
            [rule(self.source, f"{MIRROR}/a")],
            run="run",
            facts=facts,
            settings=self.settings,
            options=ImageOptions(),
            now=time.monotonic(),
        )
        self.supervisor = Supervisor(
            self.scheduler,
            settings=self.settings,
            pool=LocalPool(self.settings, self.folder, runner=self.runner),
            store=self.store,
            say=self.events.append,
            reopen_log=None,
        )
        self.ending: Ending = self.supervisor.run()

    def named(self, name: str) -> list[Event]:
        """The events of one name."""
        return [event for event in self.events if event.name == name]


def test_run_copies_all_images(tmp_path: Path) -> None:
    """All images of a rule are copied by workers of all three stages."""
    run = Run(tmp_path, f"{SOURCE}/a")

    assert (len(TAGS), 0, 0) == (
        run.scheduler.figures.copied,
        run.scheduler.figures.failed,
        run.ending.signal,
    )
    assert len(TAGS) == len(run.named("image.done"))
    assert run.store.flushes > 0


def test_tasks_of_dead_worker_are_rerun(tmp_path: Path) -> None:
    """The tasks of a dead worker are run by the next one."""
    run = Run(tmp_path, f"{SOURCE}/a:v1,die-once-1,die-once-2,v2")

    assert 4 == run.scheduler.figures.copied
    assert run.named("worker.lost")


def test_task_that_kills_workers_fails_its_image(tmp_path: Path) -> None:
    """A task that kills every worker fails its image with the exit status in words; others continue."""
    run = Run(tmp_path, f"{SOURCE}/a:v1,die,v2,v3")

    assert (3, 1) == (run.scheduler.figures.copied, run.scheduler.figures.failed)
    (failure,) = run.named("image.failed")
    assert "SIGKILL" in sentence(failure)
    assert "WORKER_DIED" == failure.fields["code"]
    assert 3 == len(run.named("worker.lost"))


def test_stopped_worker_is_replaced(tmp_path: Path) -> None:
    """A stopped worker is killed after its silence, and another one runs its tasks."""
    run = Run(tmp_path, f"{SOURCE}/a:v1,stop,v2", Settings(silence=8.0))

    assert 3 == run.scheduler.figures.copied
    assert 1 == len(run.named("worker.lost"))


def test_failed_worker_start_ends_the_run(tmp_path: Path) -> None:
    """A worker that cannot start ends the run with its reason."""
    run = Run(tmp_path, f"{SOURCE}/a", runner=BROKEN)

    assert run.ending.trouble is not None
    assert "no certificates here" in str(run.ending.trouble)
    assert not run.scheduler.finished


def test_full_disk_ends_the_run(tmp_path: Path) -> None:
    """If the records cannot be written, the run ends after its running tasks."""
    run = Run(tmp_path, f"{SOURCE}/a", store=Store(full=True))

    assert run.ending.trouble is not None
    assert "no space left" in str(run.ending.trouble)
    assert 1 == run.store.flushes
    assert run.named("run.drain")


def test_run_without_rules_starts_no_worker(tmp_path: Path) -> None:
    """A run without rules ends at once without a worker."""
    facts = MemoryFacts()
    settings = Settings()
    scheduler = Scheduler(
        [], run="run", facts=facts, settings=settings, options=ImageOptions(), now=time.monotonic()
    )
    events: list[Event] = []
    supervisor = Supervisor(
        scheduler,
        settings=settings,
        pool=LocalPool(settings, None, runner=BROKEN),
        store=Store(),
        say=events.append,
        reopen_log=None,
    )

    ending = supervisor.run()

    assert (0, None) == (ending.signal, ending.trouble)
    assert scheduler.finished
