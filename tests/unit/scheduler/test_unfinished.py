"""Uploads that were begun: who is given them, and until when they are kept."""

from __future__ import annotations

from pipeline.model.messages import (
    CopyBlob,
    Outcome,
    Task,
    TaskLost,
    Throttled,
    UploadCheckpoint,
    UploadProgress,
)
from tests.unit.scheduler.world import MIRROR, SOURCE, World, digest, image, rule

RULES = [rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")]
SESSION = UploadCheckpoint(url="https://dst.example.org/upload/1", offset=7)
KEY = (f"{MIRROR}/a", digest(b"one"))


class Telling:
    """Answers right, but has the first move of the layer say what was kept before it ends as told."""

    def __init__(self, world: World) -> None:
        """A world with one image."""
        self.world = world
        world.push(f"{SOURCE}/a", image("one"), "v1")
        self.scheduler = world.scheduler(RULES)
        self.moves: list[CopyBlob] = []

    def answer(self, task: Task) -> Outcome:
        """What the task's worker would say."""
        if isinstance(task, CopyBlob) and task.blob.digest == KEY[1]:
            self.moves.append(task)
            if len(self.moves) == 1:
                self.scheduler.keep(UploadProgress(key=task.key, session=SESSION))
                assert self.world.facts.sessions[KEY].offset == 7
        return self.world.answer(task)

    def go(self) -> list[UploadCheckpoint | None]:
        """Run to the end; the sessions of the layer's moves."""
        self.world.go(self.scheduler, answer=self.answer)
        return [move.session for move in self.moves]


def test_worker_died() -> None:
    """After a worker's death the same move goes on from what its registry had confirmed."""
    told = Telling(World())
    told.world.lose(KEY[1])

    assert [None, SESSION] == told.go()
    assert {} == told.world.facts.sessions


def test_pause() -> None:
    """So does a move that a registry asked to wait with."""
    told = Telling(World())
    told.world.throttle(KEY[1], MIRROR)

    assert [None, SESSION] == told.go()
    assert {} == told.world.facts.sessions


def test_later_round() -> None:
    """So does the next round over what failed."""
    told = Telling(World())
    told.world.fail(KEY[1], retryable=True, side="destination")

    assert [None, SESSION] == told.go()
    assert {} == told.world.facts.sessions


def test_next_run() -> None:
    """What a failed run leaves, the next one goes on from, and removes when the blob is there."""
    told = Telling(World(retries=0))
    told.world.fail(KEY[1], retryable=True, side="destination")
    told.go()
    told.scheduler = told.world.scheduler(RULES, "second")

    assert [None, SESSION] == told.go()
    assert {} == told.world.facts.sessions


def test_said_too_late() -> None:
    """What is said of a move that has ended is passed over."""
    told = Telling(World())
    told.go()
    task = told.moves[0]
    told.scheduler.keep(UploadProgress(key=task.key, session=SESSION))
    assert {} == told.world.facts.sessions


def test_dropped() -> None:
    """What is of no use any more is not given to anyone."""
    told = Telling(World())
    told.world.lose(KEY[1])
    answer = told.answer

    def drop(task: Task) -> Outcome:
        outcome = answer(task)
        if isinstance(outcome, TaskLost | Throttled):
            told.scheduler.keep(UploadProgress(key=task.key, session=None))
        return outcome

    told.world.go(told.scheduler, answer=drop)
    assert [None, None] == [move.session for move in told.moves]
