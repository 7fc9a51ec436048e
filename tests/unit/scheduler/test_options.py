"""Options belong to the images of a rule: another rule of the same run has its own."""

from __future__ import annotations

import pytest

from pipeline.model.facts import UnfinishedUpload
from pipeline.model.messages import CopyBlob, HeadManifests, PushManifest, UploadCheckpoint
from pipeline.model.platform import parse_filter
from pipeline.model.reference import parse_repository
from pipeline.model.rule_options import NO_OPTIONS, RuleOptions
from tests.unit.scheduler.world import MIRROR, SOURCE, World, digest, image, index, rule

FORCED = RuleOptions(force=True)


def test_retries_of_each_rule() -> None:
    """There are as many passes as the rule with the most retries needs, and each rule uses only its own."""
    world = World()
    world.push(f"{SOURCE}/a", image("one"), "v1", "v2")
    world.fail("look", side="source", status=500, retryable=True, times=20)

    scheduler = world.run(
        [
            rule(f"{SOURCE}/a:v1", f"{MIRROR}/a", options=RuleOptions(retries=0)),
            rule(f"{SOURCE}/a:v2", f"{MIRROR}/b", number=1, options=RuleOptions(retries=3)),
        ]
    )

    asked = [task.source.name for task in world.done if isinstance(task, HeadManifests) and task.source]
    assert ["v1", "v2", "v2", "v2", "v2"] == sorted(asked)
    assert (2, 0) == (scheduler.figures.failed, scheduler.figures.to_retry)


def test_tag_list_uses_the_retries_of_its_rule() -> None:
    """A failed tag list is requested again only if its rule may be retried."""
    world = World()
    for name in ("a", "b"):
        world.push(f"{SOURCE}/{name}", image("one"), "v1")
    world.fail("expand", side="source", status=500, retryable=True, times=2)

    scheduler = world.run(
        [
            rule(f"{SOURCE}/a", f"{MIRROR}/a", options=RuleOptions(retries=0)),
            rule(f"{SOURCE}/b", f"{MIRROR}/b", number=1, options=RuleOptions(retries=3)),
        ]
    )

    assert [0] == [rule.number for rule, _ in scheduler.failed_rules]
    assert (1, 1) == (scheduler.figures.copied, scheduler.figures.rules_failed)


def test_platforms_of_each_rule() -> None:
    """Two rules copy different platforms of one index."""
    world = World()
    amd, arm = image("amd"), image("arm")
    world.push(f"{SOURCE}/a", index((amd, "amd64"), (arm, "arm64")), "v1", children=[amd, arm])

    world.run(
        [
            rule(f"{SOURCE}/a:v1", f"{MIRROR}/{name}", number=number, options=options)
            for number, (name, options) in enumerate(
                {
                    "amd": RuleOptions(platforms=parse_filter([], ["amd64"])),
                    "arm": RuleOptions(platforms=parse_filter([], ["arm64"])),
                    "all": NO_OPTIONS,
                }.items()
            )
        ]
    )

    assert digest(arm) not in world.store(f"{MIRROR}/amd").manifests
    assert digest(amd) not in world.store(f"{MIRROR}/arm").manifests
    assert {digest(amd), digest(arm)} <= world.store(f"{MIRROR}/all").manifests.keys()


def two_platforms(world: World) -> tuple[bytes, bytes]:
    """Push an index of two platforms as a:v1; returns the two images."""
    amd, arm = image("amd"), image("arm")
    world.push(f"{SOURCE}/a", index((amd, "amd64"), (arm, "arm64")), "v1", children=[amd, arm])
    return amd, arm


AMD64 = parse_filter([], ["amd64"])
SPARSE = RuleOptions(platforms=AMD64, index="sparse")


def test_sparse_index_does_not_prove_a_whole_image() -> None:
    """An image that is copied whole does not rely on an index that was pushed without its children."""
    world = World()
    world.takes_sparse = True
    _, arm = two_platforms(world)

    rules = [rule(f"{SOURCE}/a:v1", f"{MIRROR}/a:some", options=SPARSE)]
    world.run(rules)
    assert digest(arm) not in world.store(f"{MIRROR}/a").manifests
    scheduler = world.run([*rules, rule(f"{SOURCE}/a:v1", f"{MIRROR}/a:all", number=1)], "second")

    assert (1, 1) == (scheduler.figures.unchanged, scheduler.figures.copied)
    assert world.complete(f"{MIRROR}/a", "all")


def test_refused_sparse_index_fails_with_advice() -> None:
    """A registry that refuses an index with missing children fails the image, with advice in the hint."""
    world = World()
    two_platforms(world)

    scheduler = world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a", options=SPARSE)])

    assert 1 == scheduler.figures.failed
    assert "index: trim" in next(iter(world.facts.rows.values())).hint


def test_single_image_replaces_the_index() -> None:
    """With `index: single` the tag gets the only selected image, and a second run recognises it."""
    world = World()
    amd, _ = two_platforms(world)
    rules = [
        rule(f"{SOURCE}/a:v1", f"{MIRROR}/a", options=RuleOptions(platforms=AMD64, index="single")),
    ]

    world.run(rules)
    requests = world.requests.total()
    scheduler = world.run(rules, "second")

    assert {"v1": digest(amd)} == world.store(f"{MIRROR}/a").tags
    assert (1, 2) == (scheduler.figures.unchanged, world.requests.total() - requests)


def test_different_parts_of_one_image_conflict() -> None:
    """If two rules write different parts of one image to one tag, the first wins and the second fails."""
    world = World()
    amd, arm = two_platforms(world)

    scheduler = world.run(
        [
            rule(f"{SOURCE}/a:v1", f"{MIRROR}/a", options=RuleOptions(platforms=AMD64)),
            rule(f"{SOURCE}/a:v1", f"{MIRROR}/a", number=1),
        ]
    )

    assert (1, 1) == (scheduler.figures.copied, scheduler.figures.failed)
    assert digest(amd) in world.store(f"{MIRROR}/a").manifests
    assert digest(arm) not in world.store(f"{MIRROR}/a").manifests
    assert ["TAG_CONFLICT"] == [row.code for row in world.facts.rows.values() if row.result == "failed"]


@pytest.mark.parametrize(("second", "result"), [("s390x", "unchanged"), ("arm", "failed")])
def test_indexes_equal_after_filtering_do_not_conflict(second: str, result: str) -> None:
    """Two indexes do not conflict if both filters leave the same entries."""
    world = World()
    amd, arm = two_platforms(world)
    other = image("other")
    first = amd if second == "s390x" else other
    world.push(f"{SOURCE}/b", index((first, "amd64"), (arm, second)), "v1", children=[first, arm])
    options = RuleOptions(platforms=AMD64)

    scheduler = world.run(
        [rule(f"{SOURCE}/{name}:v1", f"{MIRROR}/x", number=n, options=options) for n, name in enumerate("ab")]
    )

    assert (1, 1) == (scheduler.figures.copied, getattr(scheduler.figures, result))


def test_index_option_does_not_change_companion_lists() -> None:
    """The list of an image's referrers stays a list, whatever `index` the rule has."""
    world = World()
    tag, referrer = f"sha256-{'a' * 64}", image("signature")
    world.push(f"{SOURCE}/a", index(referrer), tag, children=[referrer])
    options = RuleOptions(index="single")

    world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a", options=options)])

    assert {tag: digest(index(referrer))} == world.store(f"{MIRROR}/a").tags


def test_sparse_and_whole_index_conflict() -> None:
    """A rule for the whole index conflicts with one that pushed the same index without children."""
    world = World()
    world.takes_sparse = True
    amd, arm = two_platforms(world)
    world.push(f"{SOURCE}/b", index((amd, "amd64"), (arm, "arm64")), "v1", children=[amd, arm])

    scheduler = world.run(
        [
            rule(f"{SOURCE}/a:v1", f"{MIRROR}/a", options=SPARSE),
            rule(f"{SOURCE}/b:v1", f"{MIRROR}/a", number=1),
        ]
    )

    assert (1, 1) == (scheduler.figures.copied, scheduler.figures.failed)


def test_force_of_each_rule() -> None:
    """Only the rule with `force` pushes what the destination has."""
    world = World()
    world.push(f"{SOURCE}/a", image("one"), "v1")
    rules = [
        rule(f"{SOURCE}/a:v1", f"{MIRROR}/plain", options=NO_OPTIONS),
        rule(f"{SOURCE}/a:v1", f"{MIRROR}/forced", number=1, options=FORCED),
    ]
    world.run(rules, "first")
    world.done.clear()

    world.run(rules, "second")

    pushed = [task.destination.repository.path for task in world.done if isinstance(task, PushManifest)]
    assert ["forced"] == pushed


def test_only_force_restarts_unfinished_uploads() -> None:
    """Only the rule with `force` restarts an upload that an earlier run has left."""
    world = World(mounts=False)
    world.push(f"{SOURCE}/a", image("one"), "v1")
    for name in ("plain", "forced"):
        left = UnfinishedUpload(
            repository=parse_repository(f"{MIRROR}/{name}"),
            digest=digest(b"one"),
            url=f"https://dst.example.org/upload/{name}",
            offset=3,
        )
        world.facts.write(left)

    world.run(
        [
            rule(f"{SOURCE}/a:v1", f"{MIRROR}/plain", options=NO_OPTIONS),
            rule(f"{SOURCE}/a:v1", f"{MIRROR}/forced", number=1, options=FORCED),
        ]
    )

    moves = [task for task in world.done if isinstance(task, CopyBlob) and task.blob.digest == digest(b"one")]
    assert {
        "plain": UploadCheckpoint(url="https://dst.example.org/upload/plain", offset=3),
        "forced": None,
    } == {move.destination.path: move.session for move in moves}


def test_shared_blob_of_a_forced_image_is_uploaded_again() -> None:
    """A blob that a forced image shares with another is uploaded again, whichever requested it first."""
    for first in (NO_OPTIONS, FORCED):
        world = World()
        world.push(f"{SOURCE}/a", image("one", salt="x"), "v1")
        world.push(f"{SOURCE}/a", image("one", salt="y"), "v2")
        left = UnfinishedUpload(
            repository=parse_repository(f"{MIRROR}/a"), digest=digest(b"one"), url="https://x/", offset=3
        )
        world.facts.write(left)
        second = FORCED if first == NO_OPTIONS else NO_OPTIONS
        scheduler = world.scheduler(
            [
                rule(f"{SOURCE}/a:v1", f"{MIRROR}/a", options=first),
                rule(f"{SOURCE}/a:v2", f"{MIRROR}/a", number=1, options=second),
            ]
        )
        held = []

        while not scheduler.done:
            held += world.take_all(scheduler)
            task = next((task for task in held if not isinstance(task, CopyBlob)), held[0])
            held.remove(task)
            scheduler.settle(world.answer(task), world.now)

        moves = [task for task in world.done if isinstance(task, CopyBlob) and task.blob.size == 3]
        assert [None] == [move.session for move in moves]
