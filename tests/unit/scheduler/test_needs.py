"""Needs: who needs something, and who pays for it, independent of chance."""

from __future__ import annotations

from pipeline.model.listing_tasks import ListTags
from pipeline.model.messages import CopyBlob, PushManifest
from pipeline.scheduler.need import Need
from tests.unit.scheduler.world import MIRROR, SOURCE, World, image, index, rule


def test_first_one_pays() -> None:
    """The first one pays; if it leaves, the next in order pays."""
    need = Need()
    assert need.payer == ""
    for key in ("c", "a", "b"):
        need.join(key)
    assert need.payer == "c"

    need.leave("a")
    assert need.payer == "c"
    need.leave("c")
    assert need.payer == "b"
    need.leave("b")
    assert need.payer == ""


def test_first_image_pays_for_a_shared_child() -> None:
    """The first of the images that share a child pays for the child, its blobs and its push."""
    world = World()
    child = image("base", "app")
    tags = [f"v{number}" for number in range(6)]
    for number, tag in enumerate(tags):
        own = image("own", salt=str(number))
        world.push(f"{SOURCE}/a", index((child, "amd64"), (own, "arm64")), tag, children=[child, own])
    scheduler = world.scheduler([rule(f"{SOURCE}/a:{','.join(tags)}", f"{MIRROR}/a")])
    held, paid = [], []

    while not scheduler.done:
        held += world.take_all(scheduler)
        # All images are looked up and read before anything is copied.
        task = next((each for each in held if not isinstance(each, CopyBlob | PushManifest)), held[0])
        held.remove(task)
        given = scheduler._queue.task(task.key)
        assert given is not None
        payer = scheduler._router.payer(given)
        if isinstance(task, CopyBlob) and task.blob.digest in child.decode():
            paid.append(payer)
        assert payer or isinstance(task, ListTags)
        scheduler.settle(world.answer(task), world.now)
        scheduler.validate()

    assert {f"{SOURCE}/a:v0 -> {MIRROR}/a:v0"} == set(paid)
