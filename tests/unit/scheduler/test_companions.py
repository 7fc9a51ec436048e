"""Companions in the scheduler: stored before the tag, one writer of a tag at a time, no endless wait."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import Fault
from pipeline.model.companions import fallback_tag
from pipeline.model.messages import PushManifest, ReferencesMissing
from pipeline.model.referrers import ListReferrers, Referrers
from tests.unit.scheduler.world import MIRROR, SOURCE, World, digest, image, index, rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.model.messages import Task
    from pipeline.scheduler.scheduler import Scheduler

COPIED = Referrers(written=False)
SIGNED = image("base")


def artifact(name: str, subject: bytes) -> bytes:
    """An artifact with a subject."""
    document: dict[str, Any] = json.loads(image(name))
    document["subject"] = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest(subject),
        "size": len(subject),
    }
    return json.dumps(document).encode()


SIGNATURE, SBOM = artifact("signature", SIGNED), artifact("sbom", SIGNED)


def referred(world: World, place: str, subject: bytes, artifacts: Sequence[bytes]) -> None:
    """Let a fallback tag list artifacts."""
    world.push(place, index(*artifacts), fallback_tag(digest(subject)), children=artifacts)


def listed(world: World, subject: bytes, place: str = f"{MIRROR}/a") -> set[str]:
    """The entries of a manifest's fallback tag."""
    store = world.store(place)
    found = json.loads(store.manifests[store.tags[fallback_tag(digest(subject))]])
    return {entry["digest"] for entry in found["manifests"]}


@pytest.mark.parametrize("seed", range(20))
def test_companions_precede_the_tag(seed: int) -> None:
    """A tag is pushed after all companions of its image, in any order of outcomes and deaths of workers."""
    world, chance = World(referrers=COPIED), random.Random(seed)
    parent = index((SIGNED, "amd64"))
    world.push(f"{SOURCE}/a", parent, "v1", "v2", children=[SIGNED])
    of_sbom = artifact("of the sbom", SBOM)
    referred(world, f"{SOURCE}/a", SIGNED, [SIGNATURE, SBOM])
    referred(world, f"{SOURCE}/a", SBOM, [of_sbom])
    world.lose("put", times=2)
    world.lose("referrers")

    scheduler = world.run([rule(f"{SOURCE}/a:v1,v2", f"{MIRROR}/a")], pick=chance.randrange)

    pushed = [task.destination.name for task in world.done if isinstance(task, PushManifest)]
    assert scheduler.figures.copied == 2
    assert listed(world, SIGNED) == {digest(SIGNATURE), digest(SBOM)}
    assert listed(world, SBOM) == {digest(of_sbom)}
    last = max(place for place, name in enumerate(pushed) if name.startswith("sha256-"))
    assert last < min(place for place, name in enumerate(pushed) if name in ("v1", "v2"))
    assert not world.early_puts


@pytest.mark.parametrize("seed", range(10))
def test_fallback_tag_has_one_writer_at_a_time(seed: int) -> None:
    """Two sources of one image add to one fallback tag in turn, also beside a rule for all tags."""
    world, chance = World(referrers=COPIED), random.Random(seed)
    for place, name in ((f"{SOURCE}/a", "one"), (f"{SOURCE}/b", "two"), (f"{SOURCE}/c", "three")):
        world.push(place, SIGNED, f"of-{name}")
        referred(world, place, SIGNED, [artifact(name, SIGNED)])
    referred(world, f"{MIRROR}/a", SIGNED, [artifact("local", SIGNED)])

    rules = [
        rule(f"{SOURCE}/a:of-one", f"{MIRROR}/a"),
        rule(f"{SOURCE}/b:of-two", f"{MIRROR}/a", number=1),
        rule(f"{SOURCE}/c", f"{MIRROR}/a", number=2),
    ]
    scheduler = world.run(rules, pick=chance.randrange)

    assert scheduler.figures.failed == 0
    names = ("one", "two", "three", "local")
    assert listed(world, SIGNED) == {digest(artifact(name, SIGNED)) for name in names}


@pytest.mark.parametrize("trouble", ["throttle", "lose", "doubt", "fail"])
def test_fallback_tag_is_written_after_its_rule_fails(trouble: str) -> None:
    """If a fallback tag's push by its own rule fails, the images that wait to add entries write it."""
    world = World(referrers=COPIED, retries=1)
    world.push(f"{SOURCE}/a", SIGNED, "v1", "v2")
    referred(world, f"{SOURCE}/a", SIGNED, [SIGNATURE, SBOM])
    local = artifact("local", SIGNED)
    referred(world, f"{MIRROR}/a", SIGNED, [local])
    tag = fallback_tag(digest(SIGNED))
    scheduler = world.scheduler([rule(f"{SOURCE}/a:{tag},v1,v2", f"{MIRROR}/a")])
    own = f"put {MIRROR}/a:{tag}"
    late = hold_back(world, scheduler, own)
    match trouble:
        case "throttle":
            world.throttle(own, MIRROR)
        case "lose":
            world.lose(own)
        case "fail":
            world.fail(own, side="destination", status=500, retryable=True)
        case "doubt":
            fault = Fault(operation="put", words="unknown", side="destination", code="MANIFEST_BLOB_UNKNOWN")
            world.script[own].append(lambda task: ReferencesMissing(key=task.key, fault=fault))
    scheduler.settle(world.answer(late), world.now)
    scheduler.validate()

    world.go(scheduler)

    assert scheduler.figures.copied + scheduler.figures.unchanged == 3
    assert listed(world, SIGNED) == {digest(each) for each in (SIGNATURE, SBOM, local)}


def hold_back(world: World, scheduler: Scheduler, key: str) -> Task:
    """Let everything run except one task, which is returned."""
    held: list[Task] = []
    while running := world.take_all(scheduler):
        for task in running:
            if task.key == key:
                held.append(task)
            else:
                scheduler.settle(world.answer(task), world.now)
    (late,) = held
    return late


def test_cyclic_companions_do_not_loop() -> None:
    """A fallback tag that lists its own subject, and two that list each other, do not loop."""
    world = World(referrers=COPIED)
    world.push(f"{SOURCE}/a", SIGNED, "v1")
    referred(world, f"{SOURCE}/a", SIGNED, [SIGNED, SIGNATURE])
    referred(world, f"{SOURCE}/a", SIGNATURE, [SIGNED, SIGNATURE])

    scheduler = world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])

    assert scheduler.figures.copied == 1
    assert digest(SIGNATURE) in listed(world, SIGNED)


def test_registry_without_api_is_asked_once() -> None:
    """A registry without the API is asked once, and not at all for unchanged images."""
    world = World(referrers=COPIED)
    for number in range(20):
        world.push(f"{SOURCE}/a", image(str(number)), f"v{number}")
    rules = [rule(f"{SOURCE}/a", f"{MIRROR}/a")]

    world.run(rules, "first")
    first = sum(isinstance(task, ListReferrers) for task in world.done)
    world.done.clear()
    world.run(rules, "second")

    assert first == 1
    assert not any(isinstance(task, ListReferrers) for task in world.done)


def test_destination_with_api_gets_no_fallback_tag() -> None:
    """If both sides have the API, only artifacts and images are written."""
    world = World(referrers=COPIED)
    world.with_api = {SOURCE, MIRROR}
    world.push(f"{SOURCE}/a", SIGNED, "v1", children=[SIGNATURE, SBOM])

    world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])

    store = world.store(f"{MIRROR}/a")
    assert set(store.tags) == {"v1"}
    assert set(store.manifests) == {digest(each) for each in (SIGNED, SIGNATURE, SBOM)}


@pytest.mark.parametrize("written", [False, True])
def test_failed_companion_fails_image_only_if_requested(written: bool) -> None:  # noqa: FBT001 - pytest's
    """A companion that fails for good fails its image only if the user asked for companions."""
    world = World(referrers=Referrers(written=written), retries=0)
    world.push(f"{SOURCE}/a", SIGNED, "v1")
    referred(world, f"{SOURCE}/a", SIGNED, [SIGNATURE, SBOM])
    world.fail(f"put {MIRROR}/a@{digest(SBOM)}", side="destination", status=405)

    figures = world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")]).figures

    assert (figures.copied, figures.failed) == ((0, 1) if written else (1, 0))
    assert listed(world, SIGNED) == {digest(SIGNATURE)}


def test_refused_companions_are_copied_by_a_later_run() -> None:
    """A later run that is allowed to copies refused companions; after that no run looks for them."""
    world = World(referrers=COPIED, retries=0)
    world.push(f"{SOURCE}/a", SIGNED, "v1")
    referred(world, f"{SOURCE}/a", SIGNED, [SIGNATURE])
    world.fail(f"put {MIRROR}/a@{digest(SIGNATURE)}", side="destination", status=405)
    rules = [rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")]

    first = world.run(rules, "first").figures
    world.fail(f"look {SOURCE}/a", side="source", status=500)
    second = world.run(rules, "second").figures
    third = world.run(rules, "third").figures
    world.done.clear()
    fourth = world.run(rules, "fourth").figures

    assert [first.copied, second.failed, third.unchanged, fourth.unchanged] == [1, 1, 1, 1]
    assert [each.companions_missing for each in (first, second, third, fourth)] == [1, 0, 0, 0]
    assert third.companions == 1
    assert listed(world, SIGNED) == {digest(SIGNATURE)}
    assert not any(isinstance(task, ListReferrers) for task in world.done)


def test_owed_companions_are_recorded_before_the_tag() -> None:
    """A run that is killed once the tag exists leaves a row with the companions that its image owes."""
    world = World(referrers=COPIED, retries=0)
    world.push(f"{SOURCE}/a", SIGNED, "v1")
    referred(world, f"{SOURCE}/a", SIGNED, [SIGNATURE])
    world.fail(f"put {MIRROR}/a@{digest(SIGNATURE)}", side="destination", status=405)
    rules = [rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")]
    written: list[int] = []

    def note(_: Task) -> None:
        row = world.facts.image(f"{SOURCE}/a:v1", f"{MIRROR}/a:v1", "")
        written.append(row.companions_owed if row else 0)

    world.script[f"put {MIRROR}/a:v1"].append(note)
    world.run(rules)

    assert written == [1]
