"""Unfinished uploads: which tasks resume them, and how long they are kept."""

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
    """Answers correctly, except that the first copy of the layer reports a checkpoint and then fails."""

    def __init__(self, world: World) -> None:
        """A world with one image."""
        self.world = world
        world.push(f"{SOURCE}/a", image("one"), "v1")
        self.scheduler = world.scheduler(RULES)
        self.moves: list[CopyBlob] = []

    def answer(self, task: Task) -> Outcome:
        """The answer of the task's worker."""
        if isinstance(task, CopyBlob) and task.blob.digest == KEY[1]:
            self.moves.append(task)
            if len(self.moves) == 1:
                self.scheduler.keep(UploadProgress(key=task.key, session=SESSION))
                assert self.world.facts.sessions[KEY].offset == 7
        return self.world.answer(task)

    def go(self) -> list[UploadCheckpoint | None]:
        """Run to the end; returns the sessions of the layer's copies."""
        self.world.go(self.scheduler, answer=self.answer)
        return [move.session for move in self.moves]


def test_upload_resumes_after_a_workers_death() -> None:
    """After a worker's death the same copy resumes from what the registry had confirmed."""
    told = Telling(World())
    told.world.lose(KEY[1])

    assert [None, SESSION] == told.go()
    assert {} == told.world.facts.sessions


def test_upload_resumes_after_a_rate_limit() -> None:
    """A copy that was rate limited resumes, too."""
    told = Telling(World())
    told.world.throttle(KEY[1], MIRROR)

    assert [None, SESSION] == told.go()
    assert {} == told.world.facts.sessions


def test_upload_resumes_in_the_next_pass() -> None:
    """The next pass resumes the upload, too."""
    told = Telling(World())
    told.world.fail(KEY[1], retryable=True, side="destination")

    assert [None, SESSION] == told.go()
    assert {} == told.world.facts.sessions


def test_upload_resumes_in_the_next_run() -> None:
    """The next run resumes what a failed run leaves, and removes it once the blob exists."""
    told = Telling(World(retries=0))
    told.world.fail(KEY[1], retryable=True, side="destination")
    told.go()
    told.scheduler = told.world.scheduler(RULES, "second")

    assert [None, SESSION] == told.go()
    assert {} == told.world.facts.sessions


def test_late_checkpoint_is_ignored() -> None:
    """A message about a finished copy is ignored."""
    told = Telling(World())
    told.go()
    task = told.moves[0]
    told.scheduler.keep(UploadProgress(key=task.key, session=SESSION))
    assert {} == told.world.facts.sessions


def test_unresumable_upload_is_dropped() -> None:
    """An upload that cannot be resumed any more is not given to any task."""
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
