"""Rules that select tags by the date of their push, which a registry's listing states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pipeline.model.catalogue import ListedTag, ListedTagPage
from pipeline.model.listing_tasks import ListTags
from pipeline.model.messages import DigestsListed
from pipeline.model.rule_options import RuleOptions, TagOptions
from tests.unit.scheduler.world import MIRROR, SOURCE, World, image, rule

if TYPE_CHECKING:
    from pipeline.scheduler.scheduler import Scheduler


def dated(world: World, **options: Any) -> Scheduler:
    """Run a rule that depends on dates."""
    chosen = RuleOptions(tags=TagOptions(**options))
    return world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a", options=chosen)], "dated")


def test_missing_dates_fail_the_rule() -> None:
    """A rule that needs dates fails if the registry has no listing, or a tag in it has no date."""
    for kind, words in (("v2", "tells no dates of tags"), ("harbor", "tells no dates of the tag v")):
        world = World()
        world.catalogues = {SOURCE: kind}  # type: ignore[dict-item]
        world.push(f"{SOURCE}/a", image("a"), "v1", "v2")

        scheduler = dated(world, since="90d")

        ((_, fault),) = scheduler.failed_rules
        assert (fault.code, scheduler.figures.known) == ("NO_DATES", 0)
        assert words in fault.words


@pytest.mark.parametrize("options", [{"since": "1970-01-11"}, {"newest": 1, "by": "pushed"}])
def test_tags_are_selected_by_push_date(options: dict[str, Any]) -> None:
    """A rule takes the tags that were pushed since then, or last, and one that is named, from the listing."""
    world = World()
    world.catalogues = {SOURCE: "quay"}
    world.push(f"{SOURCE}/a", image("a"), "v1", "v2", "old")
    moments = {"v1": 20 * 86_400.0, "v2": 86_400.0, "old": 0.0}
    page = ListedTagPage(tags=tuple(ListedTag(n, "", when) for n, when in moments.items()), entries=3)
    world.script[f"digests {SOURCE}"] += [lambda task: DigestsListed(key=task.key, page=page)]

    scheduler = dated(world, always=("old",), **options)

    assert (scheduler.failed_rules, sorted(world.store(f"{MIRROR}/a").tags)) == ([], ["old", "v1"])
    assert not [task for task in world.done if isinstance(task, ListTags) and task.side == "source"]


def test_tag_pushed_during_the_listing() -> None:
    """A tag that is pushed again moves to the first page, and shows only as a repeated one on the next."""
    world = World()
    world.catalogues = {SOURCE: "quay"}
    world.push(f"{SOURCE}/a", image("a"), "v1", "v2", "v3", "moved")
    for tags, following in ((("v3", "v2"), "2"), (("v2", "v1"), "")):
        page = ListedTagPage(
            tags=tuple(ListedTag(name, "", 86_400.0) for name in tags), entries=2, next=following
        )
        world.script[f"digests {SOURCE}"].append(
            lambda task, page=page: DigestsListed(key=task.key, page=page)  # type: ignore[misc]
        )
    moments = {"v1": 1.0, "v2": 1.0, "v3": 1.0, "moved": 2.0}
    again = ListedTagPage(tags=tuple(ListedTag(n, "", 86_400.0 * t) for n, t in moments.items()), entries=4)
    world.script[f"digests {SOURCE}"].append(lambda task: DigestsListed(key=task.key, page=again))

    scheduler = dated(world, since="1970-01-02")

    assert scheduler.failed_rules == []
    assert sorted(world.store(f"{MIRROR}/a").tags) == ["moved", "v1", "v2", "v3"]


@pytest.mark.parametrize("total", [4, 3])
def test_possibly_short_listing_fails_the_rule(total: int) -> None:
    """A possibly incomplete listing fails a rule that needs it, and nothing is copied."""
    world = World()
    world.catalogues = {SOURCE: "harbor"}
    world.push(f"{SOURCE}/a", image("a"), "v1", "v2", "v3")
    tags = tuple(ListedTag(f"v{number}", "", 86_400.0) for number in (1, 2, 3))
    page = ListedTagPage(tags=tags, entries=3, total=total)
    world.script[f"digests {SOURCE}"] += [lambda task: DigestsListed(key=task.key, page=page)]

    scheduler = dated(world, since="1970-01-01")

    codes = [fault.code for _, fault in scheduler.failed_rules]
    assert (codes, scheduler.figures.copied) == (([], 3) if total == 3 else (["LISTING_SHORT"], 0))
