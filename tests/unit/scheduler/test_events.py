"""What the scheduler reports about a run, as events and figures."""

from __future__ import annotations

from dataclasses import replace

from pipeline.errors import Fault
from pipeline.log.catalogue import EVENTS
from pipeline.model.cost import Cost, RequestRecord
from pipeline.model.messages import Throttled
from tests.unit.scheduler.world import MIRROR, SOURCE, World, blob, image, rule


def test_end_of_a_pause_is_logged_once() -> None:
    """The end of a pause is logged once, when the registry answers again, however often it was extended."""
    world = World()
    world.push(f"{SOURCE}/a", image("one"), "v1", "v2")
    world.throttle("look", SOURCE, times=3)

    events = world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a")]).events()

    [end] = [event for event in events if event.name == "registry.recovered"]
    assert (end.fields["registry"], end.fields["duration"]) == (SOURCE, 10.0)
    assert events.index(end) > max(n for n, e in enumerate(events) if e.name == "registry.cooldown")


def test_repeated_short_pauses_are_logged_every_minute() -> None:
    """A registry that asks for one short pause after another is logged once a minute."""
    world = World(patience=1_000.0)
    world.push(f"{SOURCE}/a", image("one"), "v1")
    scheduler = world.scheduler([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])
    busy = Fault(operation="look", words="slow", registry=SOURCE, side="source", status=429, retryable=True)
    for second in range(0, 150, 2):
        world.now = float(second)
        scheduler.tick(world.now)
        [task] = world.take_all(scheduler)
        scheduler.settle(Throttled(key=task.key, fault=busy, delay=2.0), world.now)

    told = [event.facts for event in scheduler.events() if event.name == "registry.cooldown"]
    assert [facts and facts["left"] for facts in told] == [1000.0, 940.0, 880.0]


def test_refused_mounts_are_logged_once() -> None:
    """A registry that refuses mounts is logged once."""
    world = World(mounts=False)
    for number in range(6):
        world.push(f"{SOURCE}/a{number}", image("one", salt=str(number)), "v1")

    scheduler = world.run([rule(f"{SOURCE}/a{n}:v1", f"{MIRROR}/a{n}", number=n) for n in range(6)])

    assert [e.fields for e in scheduler.events() if e.name == "registry.mount_refused"] == [
        {"registry": MIRROR}
    ]


def test_each_failed_attempt_is_logged() -> None:
    """Each failure of an image is logged with its pass, and whether and when a retry follows."""
    world = World(retries=1)
    world.push(f"{SOURCE}/a", image("one"), "v1")
    world.fail("put", times=2, side="destination", status=500, retryable=True)

    events = world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")]).events()

    failures = [e for e in events if e.name in ("image.retry", "image.failed")]
    assert [(e.fields["attempt"], e.fields["again"], e.fields.get("waits"), e.stage) for e in failures] == [
        (1, True, "at the end of the run", "transfer"),
        (2, False, None, "transfer"),
    ]


def test_debug_events_only_if_wanted() -> None:
    """Debug events are created only if they are wanted."""
    names = []
    for debug in (True, False):
        world = World(debug=debug)
        world.push(f"{SOURCE}/a", image("one"), "v1")
        events = world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")]).events()
        names.append([e.name for e in events if "debug" in EVENTS[e.name].levels])

    assert names == [["image.planned", "blob.done", "blob.done"], []]


def test_requests_are_counted_by_registry() -> None:
    """Requests and repeated attempts are counted for their registry."""
    world = World(retries=0)
    world.push(f"{SOURCE}/a", image("one"), "v1")
    scheduler = world.scheduler([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])
    [task] = world.take_all(scheduler)
    asked = (
        RequestRecord(registry=SOURCE, method="HEAD", status=429, seconds=0.2, pulls_left=3),
        RequestRecord(registry=SOURCE, method="HEAD", status=429, seconds=0.4, pulls_left=-1),
    )
    cost = Cost(requests=((SOURCE, 2),), asked=asked, retries=((SOURCE, "429"),))
    scheduler.settle(replace(world.answer(task), cost=cost), world.now)
    view = scheduler.view(world.now, began=0.0, running={}, workers=1)
    [registry] = [each for each in view.registries if each.name == SOURCE]

    assert {kind: sum(timing.counts) for kind, timing in registry.calls.items()} == {("HEAD", 429): 2}
    assert (registry.retries, registry.pulls_left) == ({"429": 1}, 3)


def test_remaining_bytes_fall_to_zero() -> None:
    """The bytes still to be sent are complete once every image has been read, and fall to zero."""
    world = World()
    for name in ("one", "two"):
        world.push(f"{SOURCE}/{name}", image(name), "v1")
    rules = [
        rule(f"{SOURCE}/{name}:v1", f"{MIRROR}/{name}", number=n) for n, name in enumerate(("one", "two"))
    ]
    scheduler = world.scheduler(rules)
    seen = []
    while tasks := world.take_all(scheduler):
        for task in tasks:
            scheduler.settle(world.answer(task), world.now)
        view = scheduler.view(world.now, began=0.0, running={}, workers=1)
        seen.append((view.sized, view.unsent))

    sizes = {blob(name)["size"] for name in ("one", "two")}
    assert seen[0] == (False, 0)
    assert max(unsent for _, unsent in seen) >= sum(sizes)
    assert all(sized for sized, unsent in seen if unsent)
    assert seen[-1] == (True, 0)


def test_transfer_names_its_image() -> None:
    """A running transfer is shown with its image."""
    world = World()
    world.push(f"{SOURCE}/a", image("one"), "v1")
    scheduler = world.scheduler([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])
    shown = set()
    while tasks := world.take_all(scheduler):
        view = scheduler.view(1.0, began=0.0, running={task.key: (1, 0.0) for task in tasks}, workers=1)
        shown |= {move.image for move in view.transfers}
        for task in tasks:
            scheduler.settle(world.answer(task), world.now)

    assert shown == {f"{MIRROR}/a:v1"}
