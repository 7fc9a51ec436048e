"""Digests in listings: which requests they save, and what they do not prove."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from pipeline.model.catalogue import ListedTag, ListedTagPage
from pipeline.model.messages import DigestsListed, HeadManifests
from pipeline.model.referrers import Referrers
from pipeline.model.rule_options import RuleOptions
from tests.unit.scheduler.world import MIRROR, SOURCE, World, digest, image, index, rule

if TYPE_CHECKING:
    from pipeline.model.catalogue import CatalogueKind
    from pipeline.scheduler.scheduler import Scheduler

RULE = rule(f"{SOURCE}/a", f"{MIRROR}/a")


def mirrored(
    *, tags: int = 20, source: CatalogueKind = "harbor", mirror: CatalogueKind = "harbor", page: int = 1_000
) -> World:
    """A world whose images have been copied."""
    world = World()
    world.page_size = page
    world.catalogues = {SOURCE: source, MIRROR: mirror}
    for number in range(tags):
        world.push(f"{SOURCE}/a", image(f"layer {number}"), f"v{number}")
    world.run([RULE])
    forget(world)
    return world


def forget(world: World) -> Counter[str]:
    """Forget what was requested so far; returns it."""
    asked, world.requests = world.requests, Counter()
    world.done.clear()
    return asked


def headed(world: World) -> list[str]:
    """The tags that were requested by HEAD, on either side."""
    tasks = [task for task in world.done if isinstance(task, HeadManifests)]
    sources = [str(task.source) for task in tasks if task.source and not task.listed]
    return sorted([*sources, *(str(each) for task in tasks for each in task.destinations)])


def unchanged(scheduler: Scheduler) -> tuple[int, int]:
    """Images that are up to date, and those that were copied."""
    return scheduler.figures.unchanged, scheduler.figures.copied


def test_first_run_reads_no_listing() -> None:
    """Without records a listing proves nothing, so none is requested."""
    world = World()
    world.catalogues = {SOURCE: "harbor", MIRROR: "harbor"}
    world.push(f"{SOURCE}/a", image("a"), "v1", "v2", "v3")

    scheduler = world.run([RULE])

    assert (unchanged(scheduler), world.requests["DIGESTS"]) == ((0, 3), 0)


def test_unchanged_images_cost_only_listings() -> None:
    """Unchanged images cost a list of tags, and a listing of each side."""
    world = mirrored()

    scheduler = world.run([RULE], "again")

    assert unchanged(scheduler) == (20, 0)
    assert world.requests == {"LIST": 1, "DIGESTS": 2}


@pytest.mark.parametrize("side", ["source", "destination"])
def test_side_without_digests_is_asked_by_head(side: str) -> None:
    """If only one registry lists digests, tags of the other are looked up by HEAD."""
    world = mirrored(mirror="v2") if side == "source" else mirrored(source="v2")

    scheduler = world.run([RULE], "again")

    asked = MIRROR if side == "source" else SOURCE
    assert unchanged(scheduler) == (20, 0)
    assert headed(world) == sorted(f"{asked}/a:v{number}" for number in range(20))
    assert world.requests["DIGESTS"] == 1


def test_moved_tag_is_looked_up_and_copied() -> None:
    """A tag that moved at its source, or its destination, is looked up by HEAD on both sides and copied."""
    world = mirrored()
    world.push(f"{SOURCE}/a", image("new"), "v3")
    world.push(f"{MIRROR}/a", image("foreign"), "v4")

    scheduler = world.run([RULE], "again")

    assert unchanged(scheduler) == (18, 2)
    assert headed(world) == sorted(f"{at}/a:{tag}" for at in (SOURCE, MIRROR) for tag in ("v3", "v4"))
    assert world.store(f"{MIRROR}/a").tags == world.store(f"{SOURCE}/a").tags


def test_change_on_unlisted_side_is_looked_up() -> None:
    """If the side without a listing has moved, both sides are looked up."""
    world = mirrored(mirror="v2")
    world.push(f"{MIRROR}/a", image("foreign"), "v4")

    scheduler = world.run([RULE], "again")

    assert unchanged(scheduler) == (19, 1)
    assert f"{SOURCE}/a:v4" in headed(world)
    assert world.store(f"{MIRROR}/a").tags == world.store(f"{SOURCE}/a").tags


def test_equal_digests_without_records_are_looked_up() -> None:
    """Equal digests without a row of the records are looked up: an index may lack its children."""
    world = mirrored()
    child = image("child")
    top = index((child, "linux/amd64"))
    world.push(f"{SOURCE}/a", top, "v20", children=(child,))
    there = world.store(f"{MIRROR}/a")
    there.manifests[digest(top)] = top
    there.tags["v20"] = digest(top)

    scheduler = world.run([RULE], "again")

    assert unchanged(scheduler) == (20, 1)
    assert world.complete(f"{MIRROR}/a", "v20")


@pytest.mark.parametrize(
    "options",
    [RuleOptions(force=True), RuleOptions(referrers=Referrers(when="always")), RuleOptions(keep=("x*",))],
)
def test_rules_that_use_no_listing(options: RuleOptions) -> None:
    """Rules that look up each image anyway, or read a list of tags instead, request no listing."""
    world = mirrored(tags=3)

    world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a", options=options)], "again")

    assert world.requests["DIGESTS"] == 0


def test_verification_uses_no_listing() -> None:
    """A verification checks each image and does not rely on listings."""
    world = mirrored(tags=3)
    world.settings = type(world.settings)(aim="verify")

    world.run([RULE], "again")

    assert world.requests["DIGESTS"] == 0


def test_named_tags_use_listings_if_cheaper() -> None:
    """Tags that a rule names are compared by listings if these cost less; a single one is looked up."""
    world = mirrored()

    three = world.run([rule(f"{SOURCE}/a:v1,v2,v3", f"{MIRROR}/a")], "three")
    of_three = forget(world)
    one = world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")], "one")

    assert (unchanged(three), unchanged(one)) == ((3, 0), (1, 0))
    assert (of_three, world.requests) == ({"DIGESTS": 2}, {"HEAD": 2})


def test_large_listing_is_left_after_its_first_page() -> None:
    """A listing whose total means more pages than saved requests is abandoned after its first page."""
    world = mirrored(tags=40, page=10)

    few = world.run([rule(f"{SOURCE}/a:v0,v1,v39", f"{MIRROR}/a")], "few")

    assert unchanged(few) == (3, 0)
    assert world.requests == {"DIGESTS": 2, "HEAD": 2}


def test_pages_are_read_while_they_save_requests() -> None:
    """A listing without a total is read for as long as its pages save more requests than they cost."""
    world = mirrored(tags=40, page=10, source="quay", mirror="quay")

    scheduler = world.run([RULE], "again")

    assert unchanged(scheduler) == (40, 0)
    assert world.requests == {"LIST": 4, "DIGESTS": 8}


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_refused_listing_is_replaced_by_heads(status: int) -> None:
    """A listing that cannot be read is replaced by HEADs, which is logged once and is not a failure."""
    world = mirrored()
    world.push(f"{SOURCE}/b", image("b"), "v1", "v2")
    rules = [RULE, rule(f"{SOURCE}/b", f"{MIRROR}/b", number=1)]
    world.run(rules, "more")
    forget(world)
    world.fail(f"digests {SOURCE}", status=status, registry=SOURCE, words="no", times=9)
    world.fail(f"digests {MIRROR}", status=status, registry=MIRROR, words="no", times=9)

    scheduler = world.run(rules, "again")

    told = [event.fields["registry"] for event in scheduler._state.events if event.name == "listing.unused"]
    assert unchanged(scheduler) == (22, 0)
    assert world.requests["HEAD"] == 44
    assert sorted(map(str, told)) == ([] if status == 404 else sorted([SOURCE, MIRROR]))


@pytest.mark.parametrize("status", [None, 500, 429])
def test_failing_listings_pause_no_registry(status: int | None) -> None:
    """Listings that time out, break or are rate-limited pause no registry, and are soon not requested."""
    world = World(limits=None)
    world.catalogues = {SOURCE: "harbor", MIRROR: "harbor"}
    rules = [rule(f"{SOURCE}/a{number}", f"{MIRROR}/a{number}", number=number) for number in range(40)]
    for number in range(40):
        world.push(f"{SOURCE}/a{number}", image("layer"), "v1", "v2", "v3")
    world.run(rules)
    forget(world)
    fault = {"status": status, "code": "" if status else "UNREACHABLE", "retryable": True}
    for registry in (SOURCE, MIRROR):
        if status == 429:
            world.throttle(f"digests {registry}", registry, delay=60.0, times=999)
        else:
            world.fail(f"digests {registry}", registry=registry, times=999, **fault)

    scheduler = world.run(rules, "again")

    names = {event.name for event in scheduler._state.events}
    assert unchanged(scheduler) == (120, 0)
    assert not names & {"registry.cooldown", "registry.unavailable"}
    assert world.now == 0.0
    assert world.requests["HEAD"] == 240
    asked = sum("digests" in task.key for task in world.done)
    assert asked <= 2 * 16 + 2


def test_unknown_kind_is_tried_for_many_requests() -> None:
    """A registry of an unknown kind is probed only if many requests may be saved."""
    world = mirrored(tags=60)
    world.push(f"{SOURCE}/few", image("few"), "v1", "v2", "v3")
    few = rule(f"{SOURCE}/few", f"{MIRROR}/few", number=1)
    world.run([few], "few")
    world.catalogues = {}
    forget(world)

    world.run([few], "few again")
    assert world.requests["DIGESTS"] == 0
    scheduler = world.run([RULE], "many")

    assert unchanged(scheduler) == (60, 0)
    assert world.requests["DIGESTS"] == 2


def test_listed_digest_is_used_once() -> None:
    """A digest of a listing is used once: a tag that another rule has written since then is looked up."""
    world = mirrored(tags=3)
    third = "third.example.net"
    rules = [RULE, rule(f"{MIRROR}/a", f"{third}/a", number=1)]
    world.run(rules, "both")
    forget(world)
    world.push(f"{SOURCE}/a", image("new"), "v1")

    world.run(rules, "again")

    assert world.store(f"{third}/a").tags["v1"] == digest(image("new"))


@pytest.mark.parametrize("kind", ["acr", "harbor", "quay"])
def test_complete_listing_replaces_the_tag_list(kind: CatalogueKind) -> None:
    """A listing that has every tag replaces the list of tags of a known source."""
    world = mirrored(source=kind, mirror="v2")

    world.run([RULE], "again")

    asked = [world.requests[each] for each in ("LIST", "DIGESTS", "HEAD")]
    assert asked == [int(kind != "acr"), 1, 20]


def test_signatures_hidden_by_harbor_are_found() -> None:
    """Tags of signatures, which Harbor lists as tags but not as artifacts, are found by a later run too."""
    world = mirrored(mirror="v2")
    tags = tuple(ListedTag(*each) for each in world.store(f"{SOURCE}/a").tags.items())
    page = ListedTagPage(tags=tags, entries=20, total=20)
    world.script[f"digests {SOURCE}"] += [lambda task: DigestsListed(key=task.key, page=page)]
    signature = f"sha256-{'a' * 64}.sig"
    world.push(f"{SOURCE}/a", image("signature"), signature)

    scheduler = world.run([RULE], "again")

    assert unchanged(scheduler) == (20, 1)
    assert signature in world.store(f"{MIRROR}/a").tags
