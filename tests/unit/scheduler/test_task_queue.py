"""Which queued task is given out next."""

from __future__ import annotations

from pipeline.model.manifest import Descriptor
from pipeline.model.messages import CopyBlob
from pipeline.model.reference import Repository
from pipeline.model.registry_settings import RegistrySettings
from pipeline.scheduler.rate_budget import RateBudgets
from pipeline.scheduler.task_queue import TaskQueue
from pipeline.settings import MIB, Limits
from tests.unit.scheduler.world import MIRROR, SOURCE, digest


def move(name: str, size: int) -> CopyBlob:
    """A blob to be copied."""
    return CopyBlob(
        source=Repository(SOURCE, "a"),
        blob=Descriptor(media_type="", digest=digest(name.encode()), size=size),
        destination=Repository(MIRROR, "a"),
        ask=False,
    )


def given(queue: TaskQueue) -> list[int]:
    """Sizes of the tasks that are given out, in order, one at a time."""
    sizes = []
    while isinstance(task := queue.take("transfer", 0.0), CopyBlob):
        sizes.append(task.blob.size)
        queue.release(task.key)
    return sizes


def take_all(queue: TaskQueue) -> list[CopyBlob]:
    """All tasks that may run at the same time."""
    taken = []
    while isinstance(task := queue.take("transfer", 0.0), CopyBlob):
        taken.append(task)
    return taken


def test_large_blobs_first() -> None:
    """The largest of large blobs starts first, and small ones in order of arrival."""
    large, small = TaskQueue(Limits()), TaskQueue(Limits())
    for number, size in enumerate([7 * MIB, 20 * MIB, 5 * MIB, 500 * MIB, 6 * MIB, 20 * MIB]):
        large.add(move(str(number), size))
    for number, size in enumerate([2 * MIB, 3 * MIB, 1 * MIB]):
        small.add(move(str(number), size))

    assert [500 * MIB, 20 * MIB, 20 * MIB, 7 * MIB, 6 * MIB, 5 * MIB] == given(large)
    assert [2 * MIB, 3 * MIB, 1 * MIB] == given(small)


def test_dropped_blob_is_not_given_out() -> None:
    """A large blob is given out as often as it is queued, and not after it was dropped."""
    queue = TaskQueue(Limits())
    gone, back, small = move("gone", 30 * MIB), move("back", 20 * MIB), move("small", 5 * MIB)
    for task in (gone, back, small):
        queue.add(task)

    queue.drop(gone.key)
    queue.drop(back.key)
    queue.add(back)

    assert [20 * MIB, 5 * MIB] == given(queue)
    queue.add(back)
    assert [20 * MIB] == given(queue)


def test_small_blobs_run_beside_large_ones() -> None:
    """As many small blobs as short requests may run beside the few large ones."""
    limits = Limits(requests=4, bodies=2)
    queue = TaskQueue(limits)
    for number in range(6):
        queue.add(move(f"large {number}", 4 * MIB))
        queue.add(move(f"small {number}", 4 * MIB - 1))

    sizes = [task.blob.size for task in take_all(queue)]

    assert (2, 4) == (sizes.count(4 * MIB), sizes.count(4 * MIB - 1))


def test_blob_of_unknown_size_counts_as_large() -> None:
    """A blob of unknown size counts as a large one."""
    queue = TaskQueue(Limits(requests=4, bodies=1))
    for number in range(3):
        queue.add(move(str(number), -1))

    assert 1 == len(take_all(queue))


def test_limits_grow_with_workers() -> None:
    """Three times as many workers may do three times as much at a registry, except for the user's limits."""
    queue = TaskQueue(Limits(requests=64, bodies=16))
    settings = {MIRROR: RegistrySettings(requests=20), SOURCE: RegistrySettings()}
    queue.configure(settings.__getitem__, RateBudgets(bandwidth=None))
    before = {
        name: {kind: each.most for kind, each in queue.registry(name).limits.items()} for name in settings
    }

    queue.scale(3)

    after = {
        name: {kind: each.most for kind, each in queue.registry(name).limits.items()} for name in settings
    }
    assert {"request": 64, "blob": 64, "body": 16} == before[SOURCE]
    assert {"request": 192, "blob": 192, "body": 48} == after[SOURCE]
    assert {"request": 20, "blob": 20, "body": 20} == after[MIRROR]
    queue.scale(1)
    assert before[SOURCE] == {kind: each.most for kind, each in queue.registry(SOURCE).limits.items()}
