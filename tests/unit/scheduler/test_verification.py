"""Verification in the scheduler: what is requested, and which losses are found."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import Fault
from pipeline.model.listing_tasks import ListTags
from pipeline.model.messages import (
    BlobCopied,
    CopyBlob,
    FetchManifest,
    ManifestPushed,
    PushManifest,
    TaskFailed,
)
from pipeline.model.platform import parse_filter
from tests.unit.scheduler.world import MIRROR, SOURCE, Store, World, digest, image, index, manifest, rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.model.messages import Outcome, Task
    from pipeline.model.reference import Repository
    from pipeline.model.selection import Rule
    from pipeline.scheduler.scheduler import Scheduler

AMD, ARM = image("base", "amd"), image("base", "arm")
MULTI = index((AMD, "amd64"), (ARM, "arm64"))


class Proving(World):
    """A world whose workers only check."""

    def __init__(self, *, deep: bool = False) -> None:
        super().__init__(aim="verify", deep=deep)

    def run_copy(self, *rules: str) -> None:
        """Copy it first."""
        copying = World()
        copying.stores, copying.filter = self.stores, self.filter
        copying.run([_rule(each, number) for number, each in enumerate(rules)])

    def verify(self, *rules: str) -> Scheduler:
        """Verify, and count the requests."""
        self.done.clear()
        return self.run([_rule(each, number) for number, each in enumerate(rules)], "proof")

    def _answer(self, task: Task) -> Outcome:
        match task:
            case FetchManifest():
                return super()._answer(task) if self._has(task) else self._missing(task, task.repository)
            case CopyBlob():
                self.done.append(task)
                store = self.stores.get(str(task.destination), Store())
                there = task.blob.digest in store.blobs
                return (
                    BlobCopied(key=task.key, how="present")
                    if there
                    else self._missing(task, task.destination)
                )
            case PushManifest():
                self.done.append(task)
                found = self._find(task.destination)
                same = found is not None and found.digest == task.digest
                return (
                    ManifestPushed(key=task.key) if same else self._missing(task, task.destination.repository)
                )
            case _:
                return super()._answer(task)

    def _has(self, task: FetchManifest) -> bool:
        return task.digest in self.stores.get(str(task.repository), Store()).manifests

    def _missing(self, task: Task, place: Repository) -> TaskFailed:
        self.done.append(task)
        words = f"{task.key} is not there"
        fault = Fault(operation="find", words=words, side="destination", registry=place.registry, status=404)
        return TaskFailed(key=task.key, fault=fault)

    def asked(self) -> Counter[str]:
        """Requests by kind and registry."""
        found: Counter[str] = Counter()
        for task in self.done:
            match task:
                case FetchManifest():
                    found[f"read {task.repository.registry}"] += 1
                case CopyBlob():
                    found["blob"] += 1
                case PushManifest():
                    found["put"] += 1
                case ListTags():
                    found[f"tags {task.side}"] += 1
                case _:
                    found["look"] += 1
        return found


def _rule(words: str, number: int) -> Rule:
    source, _, destination = words.partition(" ")
    return rule(source, destination, number=number)


def copied_index(*, deep: bool = False, platforms: Sequence[str] = ()) -> Proving:
    """An index of two images, copied."""
    world = Proving(deep=deep)
    world.filter = parse_filter((), tuple(platforms))
    world.push(f"{SOURCE}/a", MULTI, "v1", children=[AMD, ARM])
    world.run_copy(f"{SOURCE}/a:v1 {MIRROR}/x")
    return world


@pytest.mark.parametrize("deep", [False, True])
def test_cost_of_a_complete_index(deep: bool) -> None:  # noqa: FBT001 - pytest hands it over
    """A complete index costs a lookup, a read of each manifest at the destination, and a HEAD per blob."""
    world = copied_index(deep=deep)

    scheduler = world.verify(f"{SOURCE}/a:v1 {MIRROR}/x")

    assert (scheduler.figures.unchanged, scheduler.figures.failed) == (1, 0)
    assert world.asked() == {"look": 1, f"read {MIRROR}": 3, "blob": 5}


def test_filter_reads_the_source() -> None:
    """With a filter the source is read, and each manifest and blob is checked at the destination."""
    world = copied_index(platforms=["arm64"])

    scheduler = world.verify(f"{SOURCE}/a:v1 {MIRROR}/x")

    assert (scheduler.figures.unchanged, scheduler.figures.failed) == (1, 0)
    assert world.asked() == {"look": 1, f"read {SOURCE}": 2, "put": 1, "blob": 3}


def test_deep_filter_reads_the_pruned_index() -> None:
    """With a filter and --deep the pruned index is read as well, not only its digest."""
    world = copied_index(deep=True, platforms=["arm64"])

    scheduler = world.verify(f"{SOURCE}/a:v1 {MIRROR}/x")

    assert (scheduler.figures.unchanged, scheduler.figures.failed) == (1, 0)
    assert world.asked() == {"look": 1, f"read {SOURCE}": 2, "put": 2, "blob": 3}


def test_second_tag_costs_two_heads() -> None:
    """A tag whose manifest was already found complete in its repository costs two HEADs."""
    world = copied_index()
    world.store(f"{SOURCE}/a").tags["v2"] = digest(MULTI)
    world.store(f"{MIRROR}/x").tags["v2"] = digest(MULTI)
    world.settings = replace(world.settings, limits=replace(world.settings.limits, window_images=1))

    scheduler = world.verify(f"{SOURCE}/a:v1,v2 {MIRROR}/x")

    assert (scheduler.figures.unchanged, scheduler.figures.failed) == (2, 0)
    assert world.asked() == {"look": 2, f"read {MIRROR}": 3, "blob": 5}


def test_shared_blob_is_checked_once_per_repository() -> None:
    """A blob that several images share is checked once in each repository, without waiting."""
    world = Proving()
    for name in ("a", "b"):
        world.push(f"{SOURCE}/{name}", AMD, "v1")
        world.push(f"{SOURCE}/{name}", ARM, "v2")
    rules = (f"{SOURCE}/a:v1,v2 {MIRROR}/x", f"{SOURCE}/b:v1,v2 {MIRROR}/y")
    world.run_copy(*rules)

    scheduler = world.verify(*rules)

    assert scheduler.figures.unchanged == 4
    assert world.asked()["blob"] == 2 * 5


def test_recorded_content_is_verified() -> None:
    """Content that an earlier run recorded is verified nevertheless."""
    world = copied_index()
    world.facts.rows.clear()
    copying = World()
    copying.stores, copying.facts = world.stores, world.facts
    copying.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/x")])

    world.verify(f"{SOURCE}/a:v1 {MIRROR}/x")

    assert world.asked()["blob"] == 5


@pytest.mark.parametrize("lost", ["tag", "child", "layer", "config", "moved"])
def test_losses_and_moved_tags_are_found(lost: str) -> None:
    """A missing tag, child manifest, layer or config, and a moved tag, are found."""
    world = copied_index()
    there = world.store(f"{MIRROR}/x")
    match lost:
        case "tag":
            del there.tags["v1"]
        case "child":
            del there.manifests[digest(ARM)]
        case "layer":
            there.blobs.discard(manifest(ARM).blobs[-1].digest)
        case "config":
            there.blobs.discard(manifest(AMD).blobs[0].digest)
        case "moved":
            there.tags["v1"] = digest(AMD)

    scheduler = world.verify(f"{SOURCE}/a:v1 {MIRROR}/x")

    assert (scheduler.figures.unchanged, scheduler.figures.failed) == (0, 1)
    row = world.facts.image(f"{SOURCE}/a:v1", f"{MIRROR}/x:v1", "")
    assert row is not None
    assert (row.result, row.side, row.retryable) == ("failed", "destination", False)
    assert row.source_digest == digest(MULTI)


def test_image_without_wanted_platform_is_skipped() -> None:
    """An image that a run skips because of its platform counts as skipped, not as missing."""
    world = Proving()
    world.filter = parse_filter((), ("s390x",))
    world.push(f"{SOURCE}/b", MULTI, "v1", children=[AMD, ARM])

    assert world.verify(f"{SOURCE}/b:v1 {MIRROR}/x").figures.skipped == 1


def test_missing_image_costs_two_heads() -> None:
    """An image that does not exist at all costs its two HEADs."""
    world = Proving()
    world.push(f"{SOURCE}/a", MULTI, "v1", children=[AMD, ARM])

    assert world.verify(f"{SOURCE}/a:v1 {MIRROR}/x").figures.failed == 1
    assert world.asked() == {"look": 1}


def test_reserialised_index_is_equal() -> None:
    """The same index, serialised by another tool, counts as equal, and its children are asked for."""
    world = copied_index()
    there = world.store(f"{MIRROR}/x")
    other = MULTI.replace(b", ", b",\n  ")
    there.manifests[digest(other)] = other
    there.tags["v1"] = digest(other)

    scheduler = world.verify(f"{SOURCE}/a:v1 {MIRROR}/x")

    assert (scheduler.figures.unchanged, scheduler.figures.failed) == (1, 0)
    assert world.asked() == {"look": 1, f"read {SOURCE}": 1, f"read {MIRROR}": 3, "blob": 5}


def test_retagged_image_is_verified_to_its_blobs() -> None:
    """A tag that was set from another tag of its repository is verified down to its blobs."""
    world = Proving()
    world.push(f"{SOURCE}/a", AMD, "v1")
    world.run_copy(f"{SOURCE}/a:v1 {SOURCE}/a:v2")
    world.store(f"{SOURCE}/a").blobs.discard(manifest(AMD).blobs[1].digest)

    scheduler = world.verify(f"{SOURCE}/a:v1 {SOURCE}/a:v2")

    assert (scheduler.figures.unchanged, scheduler.figures.failed) == (0, 1)


def test_missing_layer_fails_every_image_that_names_it() -> None:
    """A missing layer fails all images that name it, and no others."""
    world = Proving()
    world.push(f"{SOURCE}/a", AMD, "v1")
    world.push(f"{SOURCE}/a", ARM, "v2")
    world.push(f"{SOURCE}/a", image("else"), "v3")
    world.run_copy(f"{SOURCE}/a:v1,v2,v3 {MIRROR}/x")
    world.store(f"{MIRROR}/x").blobs.discard(manifest(AMD).blobs[1].digest)

    scheduler = world.verify(f"{SOURCE}/a:v1,v2,v3 {MIRROR}/x")

    assert (scheduler.figures.unchanged, scheduler.figures.failed) == (1, 2)


LAYERS = st.lists(st.sampled_from(["base", "one", "two", "three"]), min_size=1, max_size=3, unique=True)
IMAGES = st.builds(lambda layers: image(*layers), LAYERS)


@st.composite
def trees(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A manifest, and all manifests below it."""
    if draw(st.booleans()):
        return draw(IMAGES), []
    below = draw(st.lists(IMAGES, min_size=1, max_size=3))
    if draw(st.booleans()):
        inner = index(*below)
        return index(inner, below[0]), [*below, inner]
    return index(*below), below


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_exactly_the_incomplete_images_fail(data: st.DataObject) -> None:
    """Exactly the incomplete images fail, whatever is lost and in whatever order tasks end."""
    world, rules = Proving(), []
    for number, (top, below) in enumerate(data.draw(st.lists(trees(), min_size=1, max_size=4))):
        repository = data.draw(st.sampled_from(["a", "b"]))
        world.push(f"{SOURCE}/{repository}", top, f"v{number}", children=below)
        rules.append(f"{SOURCE}/{repository}:v{number} {MIRROR}/{repository}")
    world.run_copy(*rules)
    for repository in ("a", "b"):
        there = world.store(f"{MIRROR}/{repository}")
        for held in (there.blobs, there.manifests, there.tags):
            for lost in data.draw(st.sets(st.sampled_from(sorted(held)), max_size=2)) if held else ():
                if isinstance(held, set):
                    held.discard(lost)
                else:
                    del held[lost]

    scheduler = world.scheduler([_rule(each, number) for number, each in enumerate(rules)], "proof")
    world.go(scheduler, pick=lambda count: data.draw(st.integers(0, count - 1)))

    for number, each in enumerate(rules):
        source, _, destination = each.partition(" ")
        row = world.facts.image(source, f"{destination}:v{number}", "")
        assert row is not None
        expected = "unchanged" if world.complete(destination, f"v{number}") else "failed"
        assert row.result == expected, each
    scheduler.validate()
