"""Tags that are never moved, and digests that wait until they are old enough."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.model.facts import FirstSeen
from pipeline.model.faults import fault_at
from pipeline.model.listing_tasks import ListTags
from pipeline.model.messages import HeadManifests, ManifestsHeaded, PushManifest
from pipeline.model.reference import parse_repository
from pipeline.model.rule_options import NO_OPTIONS, RuleOptions, TagOptions
from tests.unit.scheduler.world import MIRROR, SOURCE, World, digest, image, index, rule

if TYPE_CHECKING:
    from pipeline.model.messages import Outcome, Task

DAY = 86_400.0
KEEP = RuleOptions(keep=("v*",))
AGED = RuleOptions(min_age=3 * DAY)


def asked(world: World) -> list[str]:
    """The source tags that were requested."""
    return sorted(task.source.name for task in world.done if isinstance(task, HeadManifests) and task.source)


def results(world: World) -> dict[str, str]:
    """The result of each image, by its destination."""
    return {row.destination.rpartition("/")[2]: row.result for row in world.facts.rows.values()}


class TestKeep:
    """`keep`: existing tags are never moved."""

    def test_kept_tags_cost_only_the_list(self) -> None:
        """Tags in the destination's list cost no request; other tags are copied or moved."""
        world = World()
        world.push(f"{SOURCE}/a", image("new"), "v1", "v2", "latest")
        world.push(f"{MIRROR}/a", image("old"), "v1", "latest")

        scheduler = world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a", options=KEEP)])

        assert {"a:v1": "kept", "a:v2": "copied", "a:latest": "copied"} == results(world)
        assert ["latest", "v2"] == asked(world)
        assert digest(image("old")) == world.store(f"{MIRROR}/a").tags["v1"]
        assert (1, 2, 3) == (scheduler.figures.kept, scheduler.figures.copied, scheduler.figures.processed)

    def test_named_tags_are_kept(self) -> None:
        """Tags that the rule names are kept too."""
        world = World()
        world.push(f"{SOURCE}/a", image("new"), "v1", "v2")
        world.push(f"{MIRROR}/a", image("old"), "v1")

        world.run([rule(f"{SOURCE}/a:v1,v2", f"{MIRROR}/a", options=KEEP)])

        assert {"a:v1": "kept", "a:v2": "copied"} == results(world)

    @pytest.mark.parametrize(("options", "result"), [(NO_OPTIONS, "copied"), (KEEP, "failed")])
    def test_unreadable_tag_is_pushed_unless_kept(self, options: RuleOptions, result: str) -> None:
        """A tag for which the destination answers 500 is pushed and read back, unless `keep` holds it."""
        world = World(retries=0)
        world.push(f"{SOURCE}/a", image("new"), "v1", "v2")
        there = parse_repository(f"{MIRROR}/a")
        fault = fault_at(there, "destination", operation="look", words="oops", code="UNKNOWN", status=500)
        scheduler = world.scheduler([rule(f"{SOURCE}/a", f"{MIRROR}/a", options=options)])
        checked = []

        while tasks := world.take_all(scheduler):
            for task in tasks:
                outcome = world.answer(task)
                if isinstance(outcome, ManifestsHeaded):
                    outcome = replace(outcome, destinations=(fault,))
                if isinstance(task, PushManifest):
                    checked.append(task.check)
                scheduler.settle(outcome, 0.0)

        assert {"a:v1": result, "a:v2": result} == results(world)
        assert checked == [True, True] * (result == "copied")

    def test_unreadable_child_is_pushed(self) -> None:
        """A child manifest for which the destination answers 500 is pushed and read back."""
        world = World(retries=0)
        children = [image("one"), image("two")]
        for child in children:
            world.push(f"{SOURCE}/a", child)
        world.push(f"{SOURCE}/a", index(*children), "v1")
        world.push(f"{MIRROR}/a", image("old"), "v1")
        there = parse_repository(f"{MIRROR}/a")
        fault = fault_at(there, "destination", operation="look", words="oops", code="UNKNOWN", status=500)
        scheduler = world.scheduler([rule(f"{SOURCE}/a", f"{MIRROR}/a")])
        checked = {}

        while tasks := world.take_all(scheduler):
            for task in tasks:
                outcome = world.answer(task)
                if isinstance(task, HeadManifests) and task.source is None:
                    outcome = ManifestsHeaded(key=task.key, source=None, destinations=(fault,))
                if isinstance(task, PushManifest):
                    checked[task.digest] = task.check
                scheduler.settle(outcome, 0.0)

        assert {"a:v1": "copied"} == results(world)
        assert [checked[digest(child)] for child in children] == [True, True]

    def test_all_pages_are_read_before_any_image(self) -> None:
        """A list of several pages is read completely before any image is opened."""
        world = World()
        world.page_size = 2
        tags = [f"v{number}" for number in range(9)]
        world.push(f"{SOURCE}/a", image("new"), *tags)
        world.push(f"{MIRROR}/a", image("old"), *tags)

        scheduler = world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a", options=KEEP)])

        assert (9, []) == (scheduler.figures.kept, asked(world))

    def test_refused_list_looks_up_each_tag(self) -> None:
        """If the list is refused, each tag is looked up at the destination, and existing tags are kept."""
        world = World()
        world.push(f"{SOURCE}/a", image("new"), "v1", "v2")
        world.push(f"{MIRROR}/a", image("old"), "v1")
        world.fail(f"{MIRROR}/a?", side="destination", status=403)

        world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a", options=KEEP)])

        assert {"a:v1": "kept", "a:v2": "copied"} == results(world)

    def test_missing_repository_keeps_nothing(self) -> None:
        """A missing destination repository keeps nothing."""
        world = World()
        world.push(f"{SOURCE}/a", image("new"), "v1")

        assert 1 == world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a", options=KEEP)]).figures.copied

    def test_force_overrides(self) -> None:
        """With force nothing is kept, and no list is read."""
        world = World()
        world.push(f"{SOURCE}/a", image("new"), "v1")
        world.push(f"{MIRROR}/a", image("old"), "v1")

        options = RuleOptions(keep=("*",), force=True)
        scheduler = world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a", options=options)])

        assert 1 == scheduler.figures.copied
        assert not [task for task in world.done if isinstance(task, ListTags) and not task.is_probe]

    def test_verification_of_a_kept_tag(self) -> None:
        """A verification requires that a kept tag is complete, not that it is equal."""
        world = World(aim="verify")
        world.push(f"{SOURCE}/a", image("new"), "v1", "v2")
        world.push(f"{MIRROR}/a", image("old"), "v1")
        world.push(f"{MIRROR}/a", image("broken", "layer"), "v2")
        world.store(f"{MIRROR}/a").blobs.clear()
        world.push(f"{MIRROR}/a", image("old"), "v1")

        world.run([rule(f"{SOURCE}/a:v1,v2", f"{MIRROR}/a", options=KEEP)])

        assert {"a:v1": "unchanged", "a:v2": "failed"} == results(world)


class TestHold:
    """`min_age`: a digest waits."""

    @staticmethod
    def world(**settings: Any) -> World:
        """A source with one tag."""
        world = World(**settings)
        world.push(f"{SOURCE}/a", image("one"), "v1")
        return world

    RULES = (rule(f"{SOURCE}/a:v1", f"{MIRROR}/a", options=AGED),)

    def test_image_is_held_until_old_enough(self) -> None:
        """The first run holds the image, as does each run until it was first seen long enough ago."""
        world, found = self.world(), []
        for day in range(5):
            world.now = day * DAY
            found.append(next(iter(vars_of(world.run(self.RULES, f"run {day}")))))

        assert ["held", "held", "held", "copied", "unchanged"] == found

    def test_first_run_starts_the_quarantine(self) -> None:
        """Only a run that has seen nothing before starts the quarantine."""
        world = self.world()
        assert world.run(self.RULES, "one").quarantine_begins
        world.now = DAY
        assert not world.run(self.RULES, "two").quarantine_begins

    def test_moved_tag_starts_again(self) -> None:
        """A tag that keeps moving starts again with each digest, and the reason says so."""
        world = self.world()
        for day in range(5):
            world.now = day * DAY
            world.push(f"{SOURCE}/a", image(f"of day {day}"), "v1")
            scheduler = world.run(self.RULES, f"run {day}")

        assert 1 == scheduler.figures.held
        assert "moves too often" in next(iter(world.facts.rows.values())).fault

    def test_image_named_by_digest_is_not_held(self) -> None:
        """An image that a rule names by digest is not held."""
        world = self.world()
        name = f"{SOURCE}/a@{digest(image('one'))}"

        assert 1 == world.run([rule(name, f"{MIRROR}/a", options=AGED)]).figures.copied

    def test_trust_existing_releases_the_destinations_digest(self) -> None:
        """With --trust-existing, the destination's digest counts as seen long ago."""
        world = self.world(trust_existing=True)
        world.push(f"{MIRROR}/a", image("one"), "v1")

        world.run(self.RULES)

        assert 0.0 == world.facts.first_seen(parse_repository(f"{SOURCE}/a"), "v1", digest(image("one")))

    def test_existing_is_trusted_when_it_shows(self) -> None:
        """With --trust-existing, a digest that the destination did not show before is trusted, too."""
        world = self.world(trust_existing=True)
        world.now = DAY
        world.run(self.RULES)
        world.push(f"{MIRROR}/a", image("one"), "v1")

        world.run(self.RULES, "later")

        assert 0.0 == world.facts.first_seen(parse_repository(f"{SOURCE}/a"), "v1", digest(image("one")))

    @pytest.mark.parametrize("aim", ["plan", "verify"])
    def test_plan_and_verification_start_no_clock(self, aim: str) -> None:
        """A plan and a verification hold young digests, and do not start their clock."""
        world = self.world(aim=aim)

        scheduler = world.run(self.RULES)

        assert (1, {}) == (scheduler.figures.held, world.facts.seen)

    def test_newest_by_time_seen(self) -> None:
        """`by: seen` selects the tags that appeared last, and the greater numbers of simultaneous ones."""
        world = World()
        world.push(f"{SOURCE}/a", image("one"), "v1", "v9", "v5")
        repository = parse_repository(f"{SOURCE}/a")
        for tag, when in {"v1": 300.0, "v9": 100.0, "v5": 300.0}.items():
            world.facts.write(FirstSeen(repository=repository, tag=tag, digest="", when=when))

        options = RuleOptions(tags=TagOptions(newest=1, by="seen"))
        world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a", options=options)])

        assert {"a:v5": "copied"} == results(world)

    def test_tags_of_one_run_are_simultaneous(self) -> None:
        """Tags that one run sees for the first time count as simultaneous, whatever their page."""
        world = World()
        world.page_size = 2
        world.push(f"{SOURCE}/a", image("one"), "v1", "v20", "v3", "v4", "v5")

        def slowly(task: Task) -> Outcome:
            world.now += 1.0
            return world.answer(task)

        options = RuleOptions(tags=TagOptions(newest=1, by="seen"))
        rules = [rule(f"{SOURCE}/a", f"{MIRROR}/a", options=options)]
        world.go(world.scheduler(rules), answer=slowly)

        assert {"a:v20": "copied"} == results(world)


def vars_of(scheduler: Any) -> list[str]:
    """The counted results."""
    names = ("copied", "unchanged", "held", "failed")
    return [name for name in names if getattr(scheduler.figures, name)]
