"""Listings of digests that are wrong, short, endless, contradictory or late: no tag is missed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.model.catalogue import ListedTag, ListedTagPage
from pipeline.model.listing_tasks import ListDigests
from pipeline.model.messages import DigestsListed
from pipeline.model.registry_settings import RegistrySettings
from tests.unit.scheduler.test_listed_digests import RULE, forget, headed, mirrored, unchanged
from tests.unit.scheduler.world import MIRROR, SOURCE, World, digest, image, rule

if TYPE_CHECKING:
    from pipeline.model.messages import Outcome, Task


def test_unlisted_tag_is_looked_up() -> None:
    """A tag that a listing leaves out is looked up, and is never taken for missing."""
    world = mirrored()
    whole = dict(world.store(f"{MIRROR}/a").tags)

    def short(task: Task) -> Outcome:
        world.stores[f"{MIRROR}/a"].tags = {"v1": whole["v1"]}
        world.script["digests"].clear()
        outcome = world.answer(task)
        world.stores[f"{MIRROR}/a"].tags = whole
        return outcome

    world.script[f"digests {MIRROR}"].append(short)

    scheduler = world.run([RULE], "again")

    assert unchanged(scheduler) == (20, 0)
    assert f"{MIRROR}/a:v2" in headed(world)
    assert f"{MIRROR}/a:v1" not in headed(world)


@pytest.mark.parametrize("how", ["new first", "old first", "two pages"])
def test_tag_with_two_digests_is_looked_up(how: str) -> None:
    """A tag that a listing names twice, with two digests, is looked up, since either may be older."""
    world = mirrored(mirror="v2", source="quay")
    tags = [ListedTag(*each) for each in world.store(f"{SOURCE}/a").tags.items()]
    new = ListedTag("v3", world.push(f"{SOURCE}/a", image("new"), "v3"))
    pages = {"new first": [[new, *tags]], "old first": [[*tags, new]], "two pages": [[new], tags]}[how]
    for number, each in enumerate(pages):
        following = str(number + 1) if number + 1 < len(pages) else ""
        page = ListedTagPage(tags=tuple(each), entries=len(each), next=following)
        world.script[f"digests {SOURCE}"].append(
            lambda task, page=page: DigestsListed(key=task.key, page=page)  # type: ignore[misc]
        )

    scheduler = world.run([RULE], "again")

    assert unchanged(scheduler) == (19, 1)
    assert world.store(f"{MIRROR}/a").tags == world.store(f"{SOURCE}/a").tags


@pytest.mark.parametrize("total", [-1, 0, 5, 200, 10**9])
def test_endless_listing_costs_less_than_it_saves(total: int) -> None:
    """However many pages a listing has, and whatever its total, it costs fewer requests than it may save."""
    world = mirrored(mirror="v2")
    taken = 0

    def more(task: Task) -> Outcome:
        nonlocal taken
        taken += 1
        tags = tuple(ListedTag(f"x{taken}-{number}", digest(b"x")) for number in range(100))
        page = ListedTagPage(tags=tags, entries=100, next=str(taken), total=total)
        return DigestsListed(key=task.key, page=page)

    world.script[f"digests {SOURCE}"] += [more] * 999

    few = world.run([rule(f"{SOURCE}/a:v1,v2,v3", f"{MIRROR}/a")], "few")
    of_few = taken
    scheduler = world.run([RULE], "again")

    assert (unchanged(few), unchanged(scheduler)) == ((3, 0), (20, 0))
    assert (of_few <= 3, taken - of_few <= 20) == (True, True)


def test_wrong_total_leads_to_no_further_page() -> None:
    """If the first page has all tags that a rule needs, a wrong total leads to no other request."""
    world = mirrored(mirror="v2")
    tags = tuple(ListedTag(*each) for each in world.store(f"{SOURCE}/a").tags.items())
    page = ListedTagPage(tags=tags, entries=len(tags), next="2", total=3)
    world.script[f"digests {SOURCE}"] += [lambda task: DigestsListed(key=task.key, page=page)] * 9

    scheduler = world.run([RULE], "again")

    assert unchanged(scheduler) == (20, 0)
    assert len(world.script[f"digests {SOURCE}"]) == 8


@pytest.mark.parametrize("asked_before", [True, False])
def test_paused_destination_is_not_listed(monkeypatch: pytest.MonkeyPatch, *, asked_before: bool) -> None:
    """Rules do not wait for the listing of a destination with a long pause, so that other rules begin."""
    world = World(limits=None)
    world.catalogues = {SOURCE: "v2", MIRROR: "harbor"}
    alone = {at: replace(world._settings_of(at), requests=1) for at in (SOURCE, MIRROR)}
    monkeypatch.setattr(world, "_settings_of", lambda at: alone.get(at, RegistrySettings()))
    third = "third.example.net"
    rules = [rule(f"{SOURCE}/a{number}", f"{MIRROR}/a{number}", number=number) for number in range(20)]
    rules.append(rule(f"{SOURCE}/b", f"{third}/b", number=20))
    for name in (*(f"a{number}" for number in range(20)), "b"):
        world.push(f"{SOURCE}/{name}", image("layer"), "v1", "v2", "v3")
    world.run(rules)
    forget(world)
    world.push(f"{SOURCE}/b", image("new"), "v1")
    scheduler = world.scheduler(rules, "again")
    when = {}

    def answer(task: Task) -> Outcome:
        when[task.key] = world.now
        if not asked_before or isinstance(task, ListDigests):
            scheduler._state.queue.registry(MIRROR).paused_until = 600.0
        return world.answer(task)

    world.go(scheduler, answer=answer)

    assert (unchanged(scheduler), world.now) == ((62, 1), 600.0)
    assert when[f"put {third}/b:v1"] == 0.0


def test_own_write_is_looked_up() -> None:
    """A tag that this run has written is looked up when another rule reads it: a listing may lag behind."""
    world = mirrored(tags=3)
    third = "third.example.net"
    rules = [RULE, rule(f"{MIRROR}/a", f"{third}/a", number=1)]
    world.run(rules, "both")
    forget(world)
    old = tuple(ListedTag(*each) for each in world.store(f"{MIRROR}/a").tags.items())
    page = ListedTagPage(tags=old, entries=3, total=3)

    def behind(task: Task) -> Outcome | None:
        is_source = isinstance(task, ListDigests) and task.side == "source"
        return DigestsListed(key=task.key, page=page) if is_source else None

    world.script[f"digests {MIRROR}/a?"] += [behind] * 3
    world.push(f"{SOURCE}/a", image("new"), "v1")

    world.run(rules, "again")

    assert world.store(f"{third}/a").tags["v1"] == digest(image("new"))


def test_circular_listing_is_abandoned() -> None:
    """A listing whose pages lead back to an earlier one is abandoned."""
    world = mirrored(tags=20, source="quay", mirror="v2")
    page = ListedTagPage(tags=(ListedTag("v0", ""),), entries=1, next="again")
    world.script[f"digests {SOURCE}"] += [lambda task: DigestsListed(key=task.key, page=page)] * 9

    scheduler = world.run([RULE], "again")

    assert unchanged(scheduler) == (20, 0)
    assert len(world.script[f"digests {SOURCE}"]) == 7


def test_wrong_count_leads_to_the_tag_list() -> None:
    """If the total does not match, the list of tags is read, and nothing is missed."""
    world = mirrored(source="gitlab", mirror="v2")
    tags = tuple(ListedTag(f"v{number}", "") for number in range(5))
    page = ListedTagPage(tags=tags, entries=5, total=20)
    world.script[f"digests {SOURCE}"] += [lambda task: DigestsListed(key=task.key, page=page)]

    scheduler = world.run([RULE], "again")

    assert unchanged(scheduler) == (20, 0)
    assert world.requests["LIST"] == 1


def test_changing_total_leads_to_the_tag_list() -> None:
    """A total that changes from page to page may hide tags, so the list of tags is read."""
    world = mirrored(source="gitlab", mirror="v2", page=10)
    pages = [
        ListedTagPage(tags=(ListedTag("v1", ""),), entries=10, total=20, next="10"),
        ListedTagPage(tags=(ListedTag("v2", ""),), entries=10, total=19),
    ]
    world.script[f"digests {SOURCE}"] += [
        lambda task, page=each: DigestsListed(key=task.key, page=page)  # type: ignore[misc]
        for each in pages
    ]

    scheduler = world.run([RULE], "again")

    assert unchanged(scheduler) == (20, 0)
    assert world.requests["LIST"] == 2
