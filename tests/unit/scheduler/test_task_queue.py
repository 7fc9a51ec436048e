"""Which of the ready tasks is given out next."""

from __future__ import annotations

from pipeline.model.manifest import Descriptor
from pipeline.model.messages import CopyBlob
from pipeline.model.reference import Repository
from pipeline.scheduler.task_queue import TaskQueue
from pipeline.settings import MIB, Limits
from tests.unit.scheduler.world import MIRROR, SOURCE, digest


def move(name: str, size: int) -> CopyBlob:
    """A blob to be moved."""
    return CopyBlob(
        source=Repository(SOURCE, "a"),
        blob=Descriptor(media_type="", digest=digest(name.encode()), size=size),
        destination=Repository(MIRROR, "a"),
        ask=False,
    )


def given(queue: TaskQueue) -> list[int]:
    """Sizes of all that is given out, in order, one at a time."""
    sizes = []
    while isinstance(task := queue.take("transfer", 0.0), CopyBlob):
        sizes.append(task.blob.size)
        queue.release(task.key)
    return sizes


def test_large_blobs_first() -> None:
    """Large blobs go before all others, the largest first, and small ones in the order in which they came."""
    queue = TaskQueue(Limits())
    for number, size in enumerate([3, 20 * MIB, 1, 500 * MIB, 2, 20 * MIB]):
        queue.add(move(str(number), size))

    assert [500 * MIB, 20 * MIB, 20 * MIB, 3, 1, 2] == given(queue)


def test_dropped_blob() -> None:
    """A large blob that nobody wants any more, or that comes back, is given out as often as it is ready."""
    queue = TaskQueue(Limits())
    gone, back, small = move("gone", 30 * MIB), move("back", 20 * MIB), move("small", 1)
    for task in (gone, back, small):
        queue.add(task)

    queue.drop(gone.key)
    queue.drop(back.key)
    queue.add(back)

    assert [20 * MIB, 1] == given(queue)
    queue.add(back)
    assert [20 * MIB] == given(queue)
