"""Rules with a `*`: the listing becomes rules in a stable order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.config.pattern_rules import expansion_of, pattern_source, with_apart
from pipeline.model.catalogue import RepositoryPage
from pipeline.model.listing_tasks import ListTags
from pipeline.model.messages import RepositoriesListed
from pipeline.model.rule_options import NO_OPTIONS, RepositoryOptions, RuleOptions
from pipeline.model.selection import AllTags, Rule
from pipeline.settings import Shard
from tests.unit.scheduler.world import MIRROR, SOURCE, World, image, rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.scheduler.scheduler import Scheduler

THIRD = "third.example.net"


def pattern(source: str, *to: str, number: int = 0, options: RuleOptions = NO_OPTIONS) -> Rule:
    """A rule as written in a file."""
    return Rule(
        number=number,
        line=number + 1,
        text=source,
        source=pattern_source(source),
        selection=AllTags(),
        targets=(),
        options=options,
        expansion=expansion_of(source, to, options, {}),
        written=to,
    )


def filled(*names: str, retries: int = 0) -> World:
    """Repositories with one image each."""
    world = World(retries=retries)
    for name in names:
        world.push(f"{SOURCE}/{name}", image(name), "v1")
    return world


def events(scheduler: Scheduler, name: str) -> list[dict[str, object]]:
    """Fields of all events with that name."""
    return [dict(event.fields) for event in scheduler._state.events if event.name == name]


@pytest.mark.parametrize("pick", [0, -1])
def test_matching_repositories_are_copied(pick: int) -> None:
    """Every matching repository is copied, the others are counted, and one listing is enough."""
    world = filled("team/a", "team/b/c", "team/skip/d", "other/e")
    filters = RuleOptions(repositories=RepositoryOptions(exclude=("skip/**",)))

    scheduler = world.run(
        [pattern(f"{SOURCE}/team/**", f"{MIRROR}/x/", options=filters)], pick=lambda count: pick % count
    )

    assert world.complete(f"{MIRROR}/x/a", "v1")
    assert world.complete(f"{MIRROR}/x/b/c", "v1")
    assert (scheduler.figures.copied, scheduler.figures.rules) == (2, 3)
    (listed,) = events(scheduler, "rule.listed")
    assert (listed["repositories"], listed["others"], listed["invalid"]) == (2, 2, 0)
    assert world.requests["CATALOGUE"] == 1


def test_repository_with_its_own_rule_is_left_out() -> None:
    """A repository with its own rule is left to that rule."""
    world = filled("team/a", "team/b")
    rules = with_apart(
        [pattern(f"{SOURCE}/team/*", f"{MIRROR}/x/"), rule(f"{SOURCE}/team/a", f"{MIRROR}/own", number=1)]
    )

    scheduler = world.run(rules)

    assert world.complete(f"{MIRROR}/own", "v1")
    assert f"{MIRROR}/x/a" not in world.stores or not world.stores[f"{MIRROR}/x/a"].tags
    assert events(scheduler, "rule.listed")[0]["apart"] == 1


def test_two_repositories_with_one_destination_conflict() -> None:
    """If two repositories map to one destination, the second fails with both names, and is not written."""
    world = filled("team/a/b", "team/a-b")

    scheduler = world.run([pattern(f"{SOURCE}/team/**", f"{MIRROR}/x/{{flat}}")])

    ((failed, fault),) = scheduler.failed_rules
    assert (failed.text, scheduler.figures.copied) == (f"{SOURCE}/team/a/b", 1)
    assert f"{SOURCE}/team/a-b is written to {MIRROR}/x/team-a-b already" in fault.words


@pytest.mark.parametrize("status", [403, 500])
def test_failed_listing_fails_only_its_rule(status: int) -> None:
    """A failed listing fails only its rule, after the rule's retries."""
    world = filled("team/a", "other/b", retries=1)
    world.fail("catalogue", status=status, retryable=status == 500, times=1 if status == 500 else 9)
    rules = [pattern(f"{SOURCE}/team/*", f"{MIRROR}/x/"), rule(f"{SOURCE}/other/b", f"{MIRROR}/b", number=1)]

    scheduler = world.run(rules)

    assert world.complete(f"{MIRROR}/b", "v1")
    assert world.complete(f"{MIRROR}/x/a", "v1") is (status == 500)
    assert [each.number for each, _ in scheduler.failed_rules] == ([] if status == 500 else [0])


def test_incomplete_listing_copies_nothing() -> None:
    """An incomplete listing copies nothing at all."""
    world = filled("team/a")
    page = RepositoryPage(paths=("team/a",), total=2)
    world.script["catalogue"].append(lambda task: RepositoriesListed(key=task.key, page=page))

    scheduler = world.run([pattern(f"{SOURCE}/team/*", f"{MIRROR}/x/")])

    ((_, fault),) = scheduler.failed_rules
    assert (fault.code, scheduler.figures.copied) == ("LISTING_SHORT", 0)


def test_missing_listed_repository_is_only_reported() -> None:
    """A listed repository that does not exist is only reported; one without access is a failure."""
    world = filled("team/a", "team/b", "team/gone", "team/secret")
    world.fail(f"expand {SOURCE}/team/gone", status=404)
    world.fail(f"expand {SOURCE}/team/secret", status=403)

    scheduler = world.run([pattern(f"{SOURCE}/team/*", f"{MIRROR}/x/")])

    assert [each["rule"] for each in events(scheduler, "rule.gone")] == [f"{SOURCE}/team/gone"]
    assert [each.text for each, _ in scheduler.failed_rules] == [f"{SOURCE}/team/secret"]
    assert scheduler.figures.copied == 2


def test_failed_repository_is_retried_alone() -> None:
    """A repository whose tags could not be listed is retried, not the whole pattern."""
    world = filled("team/a", "team/b", retries=1)
    world.fail(f"expand {SOURCE}/team/a", status=500, retryable=True)

    scheduler = world.run([pattern(f"{SOURCE}/team/*", f"{MIRROR}/x/")])

    assert (scheduler.figures.copied, scheduler.failed_rules) == (2, [])
    assert world.requests["CATALOGUE"] == 1


def feeding() -> Sequence[Sequence[Rule]]:
    """Chains with a pattern at the start, in the middle, or at the end."""
    return [
        [
            pattern(f"{SOURCE}/team/*", f"{MIRROR}/x/"),
            rule(f"{MIRROR}/x/a", f"{THIRD}/end/a", number=1),
        ],
        [
            rule(f"{SOURCE}/team/a", f"{MIRROR}/x/a"),
            pattern(f"{MIRROR}/x/*", f"{THIRD}/end/", number=1),
        ],
        [
            pattern(f"{SOURCE}/team/*", f"{MIRROR}/x/"),
            pattern(f"{MIRROR}/**", f"{THIRD}/end/{{name}}", number=1),
        ],
    ]


@pytest.mark.parametrize("rules", feeding())
@pytest.mark.parametrize("pick", [0, -1])
def test_chained_patterns_wait_for_each_other(rules: Sequence[Rule], pick: int) -> None:
    """A pattern waits for the rules that write its sources, and the rules that read its destinations wait."""
    world = filled("team/a")

    scheduler = world.run(rules, pick=lambda count: pick % count)

    assert world.complete(f"{THIRD}/end/a", "v1")
    assert scheduler.figures.failed == 0


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("pick", [0, -1])
def test_earlier_rule_wins_a_tag(first: bool, pick: int) -> None:  # noqa: FBT001 - a parameter of pytest
    """If a pattern and a rule write the same tag, the earlier one wins."""
    world = filled("team/a", "other/a")
    rules = [
        pattern(f"{SOURCE}/team/*", f"{MIRROR}/x/", number=0 if first else 1),
        rule(f"{SOURCE}/other/a", f"{MIRROR}/x/a", number=1 if first else 0),
    ]

    scheduler = world.run(sorted(rules, key=lambda each: each.number), pick=lambda count: pick % count)

    winner = image("team/a" if first else "other/a")
    assert world.stores[f"{MIRROR}/x/a"].manifests[world.stores[f"{MIRROR}/x/a"].tags["v1"]] == winner
    assert scheduler.figures.failed == 1


def test_stopped_run_names_unexpanded_patterns() -> None:
    """A stopped run names the pattern as not expanded, or after its listing the repositories."""
    world = filled("team/a", "team/b")
    rules = [pattern(f"{SOURCE}/team/*", f"{MIRROR}/x/")]
    scheduler = world.scheduler(rules)
    (listing,) = world.take_all(scheduler)

    assert [each.text for each in scheduler.unexpanded] == [f"{SOURCE}/team/*"]
    scheduler.settle(world.answer(listing), world.now)
    assert [each.text for each in scheduler.unexpanded] == [f"{SOURCE}/team/a", f"{SOURCE}/team/b"]


def test_few_repositories_are_listed_at_a_time() -> None:
    """Of thousands of repositories only a few are listed at a time."""
    world = filled("team/r0")
    paths = tuple(f"team/r{number}" for number in range(3000))
    scheduler = world.scheduler([pattern(f"{SOURCE}/team/*", f"{MIRROR}/x/")])
    (listing,) = world.take_all(scheduler)
    scheduler.settle(RepositoriesListed(key=listing.key, page=RepositoryPage(paths=paths)), world.now)

    assert len([task for task in world.take_all(scheduler) if isinstance(task, ListTags)]) <= 16


def test_each_repository_is_in_one_shard() -> None:
    """Each repository of a pattern belongs to one shard, by its destination."""
    names = [f"team/r{number}" for number in range(20)]
    copied = []
    for index in range(3):
        world = filled(*names)
        whole = pattern(f"{SOURCE}/team/*", f"{MIRROR}/x/")
        assert whole.expansion is not None
        expansion = replace(whole.expansion, shard=Shard(index=index, count=3))
        world.run([replace(whole, expansion=expansion)])
        copied.append({name for name in names if world.complete(f"{MIRROR}/x/{name[5:]}", "v1")})

    assert all(copied)
    assert sorted(name for part in copied for name in part) == sorted(names)
