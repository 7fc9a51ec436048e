from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.model.messages import CopyBlob
from pipeline.scheduler.order import Order
from tests.unit.scheduler.world import MIRROR, SOURCE, World, digest, image, rule

if TYPE_CHECKING:
    from pipeline.model.selection import Rule

THIRD = "third.example.net"


def begun(order: Order) -> list[int]:
    """Numbers of the rules that may start now."""
    found = []
    while order:
        found.append(order.begin().number)
    return found


@pytest.mark.parametrize("pick", [0, -1])
@pytest.mark.parametrize("names", ["", ":v1,v2"])
def test_chained_rules_copy_in_one_run(names: str, pick: int) -> None:
    """A to B, B to C, C to D in one file copies every image to D in one run."""
    world = World()
    for tag in ("v1", "v2", "v3"):
        world.push(f"{SOURCE}/a", image(tag), tag)
    rules = [
        rule(f"{SOURCE}/a", f"{MIRROR}/b"),
        rule(f"{MIRROR}/b{names}", f"{THIRD}/c", number=1),
        rule(f"{THIRD}/c", f"{MIRROR}/d", number=2),
    ]

    scheduler = world.run(rules, pick=lambda count: pick % count)

    assert 0 == scheduler.figures.failed
    for tag in ("v1", "v2"):
        assert world.complete(f"{THIRD}/c", tag)
        assert world.complete(f"{MIRROR}/d", tag)
    assert world.complete(f"{MIRROR}/d", "v3") is not bool(names)


def test_rule_waits_for_all_images_of_its_source() -> None:
    """A rule sends no requests while an image of the rule that writes its source is unfinished or retried."""
    world = World(retries=1)
    world.push(f"{SOURCE}/a", image("one"), "v1")
    world.push(f"{MIRROR}/b", image("old"), "v1")
    world.fail("move", side="source", status=500, retryable=True)

    scheduler = world.run(
        [rule(f"{SOURCE}/a:v1", f"{MIRROR}/b"), rule(f"{MIRROR}/b:v1", f"{THIRD}/c", number=1)],
    )

    assert (2, 0) == (scheduler.figures.copied, scheduler.figures.failed)
    assert digest(image("one")) == world.store(f"{THIRD}/c").tags["v1"]


@pytest.mark.parametrize("retries", [0, 2])
def test_failed_image_does_not_stop_the_next_rule(retries: int) -> None:
    """An image that failed in the first rule is missing for the second; the others continue."""
    world = World(retries=retries)
    world.push(f"{SOURCE}/a", image("one"), "v1")
    world.push(f"{SOURCE}/a", image("two"), "v2")
    first = rule(f"{SOURCE}/a:v1,v2", f"{MIRROR}/b")
    world.fail("v2", times=9, side="source", status=500, retryable=True)

    scheduler = world.run([first, rule(f"{MIRROR}/b", f"{THIRD}/c", number=1)])

    assert (2, 1) == (scheduler.figures.copied, scheduler.figures.failed)
    assert world.complete(f"{THIRD}/c", "v1")


def test_rule_without_images_ends() -> None:
    """A rule whose tag list fails or is empty still ends."""
    world = World(retries=0)
    world.store(f"{SOURCE}/empty")
    world.push(f"{MIRROR}/b", image("old"), "v1")
    rules = [
        rule(f"{SOURCE}/missing", f"{MIRROR}/b"),
        rule(f"{SOURCE}/empty", f"{MIRROR}/b", number=1),
        rule(f"{MIRROR}/b", f"{THIRD}/c", number=2),
    ]

    scheduler = world.run(rules)

    assert (1, 1) == (scheduler.figures.copied, scheduler.figures.rules_failed)


def test_waiting_rule_is_logged() -> None:
    """The log names a waiting rule and the line that it waits for, and a rule that reads too early."""
    there = rule(f"{SOURCE}/a", f"{MIRROR}/b")
    back = rule(f"{MIRROR}/b", f"{SOURCE}/a", number=1)

    order = Order([there, back])

    told = {
        (event.name, event.level, event.fields["line"], event.fields["other_line"]) for event in order.events
    }
    assert {("rule.after", "info", 2, 1), ("rule.too_early", "warning", 1, 2)} == told
    assert [0] == begun(order)
    order.opened(0)
    order.expanded(0)
    assert [] == begun(order)
    order.ended(0)
    assert [1] == begun(order)


@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [
        (rule("h.example/a:1", "h.example/a:2"), rule("h.example/a:3", "h.example/a:4", number=1), False),
        (rule("h.example/a:1", "h.example/a:2"), rule("h.example/a:2", "h.example/x", number=1), True),
        (rule("h.example/a:1", "h.example/b"), rule("h.example/b:1", "h.example/x", number=1), True),
        (rule("h.example/a:1", "h.example/b"), rule("h.example/b:2", "h.example/x", number=1), False),
        (rule("h.example/a:1", "h.example/b"), rule("h.example/b", "h.example/x", number=1), True),
        (rule("h.example/a", "h.example/b"), rule("h.example/b:2", "h.example/x", number=1), True),
        (
            rule("h.example/a:1", "h.example/b"),
            rule(f"h.example/b@{digest(b'')}", "h.example/x", number=1),
            True,
        ),
        (rule("h.example/a", "h.example/b"), rule("h.example/a", "h.example/c", number=1), False),
    ],
)
def test_rules_with_different_tags_do_not_wait(first: Rule, second: Rule, *, waits: bool) -> None:
    """Rules that name different tags do not wait for each other."""
    order = Order([first, second])
    assert 0 == order.begin().number
    order.opened(0)
    order.expanded(0)

    assert ([] if waits else [1]) == begun(order)


def test_many_rules_of_one_repository_use_linear_memory() -> None:
    """Thousands of rules that retag digests of one repository use memory in proportion to their number."""
    each = digest(b"")
    order = Order([rule(f"h.example/a@{each}", f"h.example/a:{n}", number=n) for n in range(5_000)])

    for number in range(5_000):
        assert [number] == begun(order)
        order.expanded(number)


def test_independent_rules_run_in_parallel() -> None:
    """Rules of different repositories do not wait."""
    world = World()
    world.push(f"{SOURCE}/a", image("one"), "v1")
    world.push(f"{SOURCE}/b", image("two"), "v1")

    scheduler = world.scheduler(
        [rule(f"{SOURCE}/a:v1", f"{MIRROR}/a"), rule(f"{SOURCE}/b:v1", f"{MIRROR}/b", number=1)]
    )

    assert 2 == len(world.take_all(scheduler))
    assert not [task for task in world.done if isinstance(task, CopyBlob)]
