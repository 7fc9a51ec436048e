"""The scheduler against a model, with any order of outcomes, deaths, refusals, pauses and retries.

A world that loses nothing by itself answers the tasks; hypothesis chooses the corpus, the rules, which task
is answered next, and which answers are replaced by faults.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import Fault
from pipeline.model.messages import (
    BlobCopied,
    CopyBlob,
    PushManifest,
    ReferencesMissing,
    TaskFailed,
    TaskLost,
    Throttled,
)
from pipeline.model.platform import parse_filter
from pipeline.scheduler.admission import HELD_UP
from pipeline.settings import Limits
from tests.unit.scheduler.world import MIRROR, SOURCE, World, cache, image, index, rule

if TYPE_CHECKING:
    from pipeline.model.messages import Outcome, Task
    from pipeline.model.selection import Rule

TROUBLE = (
    "none",
    "lost",
    "unbegun",
    "retryable",
    "permanent",
    "source",
    "throttled",
    "twice",
    "unreachable",
    "lacking",
)
OTHER = "other.example.net"


@dataclass
class Troubled:
    """A world in which drawn faults replace some answers."""

    world: World
    trouble: list[str]
    answers: int = 0
    excused: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(destination registry, digest) -> moves that failed, were lost or were refused."""
    troubles: int = 0

    def answer(self, task: Task) -> Outcome:
        """The correct answer, or the next fault."""
        kind = self.trouble[self.answers] if self.answers < len(self.trouble) else "none"
        self.answers += 1
        if kind != "none":
            self.troubles += 1
        outcome = self._outcome(kind, task)
        refused = isinstance(outcome, BlobCopied) and outcome.refused
        if isinstance(task, CopyBlob) and (refused or not isinstance(outcome, BlobCopied)):
            self.excused[task.destination.registry, task.blob.digest] += 1
        return outcome

    def _outcome(self, kind: str, task: Task) -> Outcome:
        fault = Fault(
            operation="work",
            words=kind,
            side="source" if kind == "source" else "destination",
            registry=MIRROR,
            status=500,
            retryable=kind != "permanent",
        )
        match kind:
            case "none":
                return self.world.answer(task)
            case "lost" | "unbegun":
                return TaskLost(key=task.key, reason="killed by SIGKILL", begun=kind == "lost")
            case "throttled":
                return Throttled(key=task.key, fault=fault, delay=3.0)
            case "unreachable":
                gone = Fault(
                    operation="work",
                    words=kind,
                    side="destination",
                    registry=MIRROR,
                    code="UNREACHABLE",
                    retryable=True,
                )
                return TaskFailed(key=task.key, fault=gone)
            case "lacking" if isinstance(task, PushManifest):
                # The registry is wrong, at least for a while: it does have this content.
                return ReferencesMissing(key=task.key, fault=fault)
            case "lacking":
                return self.world.answer(task)
            case "twice":
                # The task was done, and the worker died before it sent the outcome.
                self.world.answer(task)
                return TaskLost(key=task.key, reason="killed by SIGKILL", begun=True)
            case _:
                return TaskFailed(key=task.key, fault=fault)


TAGS = st.sampled_from(["v1", "v2", "v3", "V1", f"sha256-{'a' * 64}"])
LAYERS = st.lists(st.sampled_from(["base", "tools", "app", "data"]), min_size=1, max_size=3)
IMAGES = st.builds(lambda layers, salt: image(*layers, salt=salt), LAYERS, st.sampled_from("xy"))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[World, list[Rule]]:
    """A corpus of few, widely shared layers, and rules over it."""
    world = World(
        mounts=draw(st.booleans()),
        retries=draw(st.integers(0, 2)),
        force=draw(st.booleans()),
        limits=Limits(
            requests=draw(st.integers(1, 3)),
            bodies=draw(st.integers(1, 2)),
            proc=draw(st.sampled_from([None, 1, 2])),
            window_images=draw(st.integers(1, 5)),
        ),
    )
    world.page_size = draw(st.integers(1, 3))
    world.filter = parse_filter([], draw(st.sampled_from([[], ["amd64"]])))
    for repository in ("a", "b"):
        for tag in draw(st.lists(TAGS, min_size=1, max_size=3, unique=True)):
            one, two = draw(IMAGES), draw(IMAGES)
            match draw(st.sampled_from(["single", "index", "nested", "cache"])):
                case "single":
                    world.push(f"{SOURCE}/{repository}", one, tag)
                case "index":
                    both = index((one, "amd64"), (two, "arm64"))
                    world.push(f"{SOURCE}/{repository}", both, tag, children=[one, two])
                case "cache":
                    world.push(f"{SOURCE}/{repository}", cache(*draw(LAYERS)), tag)
                case "nested":
                    inner = index((one, "amd64"), (two, "arm64"))
                    outer = index(inner, (one, "amd64"))
                    world.push(f"{SOURCE}/{repository}", outer, tag, children=[one, two, inner])
    shapes = [
        (f"{SOURCE}/a", f"{MIRROR}/a", f"{MIRROR}/b"),
        (f"{SOURCE}/b", f"{MIRROR}/b"),
        (f"{SOURCE}/a:v1,v2", f"{MIRROR}/c"),
        (f"{SOURCE}/b:v1,v9", f"{OTHER}/b", f"{MIRROR}/a"),
        (f"{MIRROR}/a:v1", f"{MIRROR}/d"),
    ]
    chosen = draw(st.lists(st.sampled_from(shapes), min_size=1, max_size=4))
    return world, [rule(*shape, number=number) for number, shape in enumerate(chosen)]


@settings(max_examples=300, deadline=None)
@given(data=st.data(), made=worlds(), trouble=st.lists(st.sampled_from(TROUBLE), max_size=40))
def test_invariants_hold_whatever_happens(
    data: st.DataObject, made: tuple[World, list[Rule]], trouble: list[str]
) -> None:
    """No tag precedes its content, nothing is sent twice without cause, and all images are counted."""
    world, rules = made
    troubled = Troubled(world, trouble)
    scheduler = world.scheduler(rules)
    begun = 0

    def pick(count: int) -> int:
        nonlocal begun
        begun = max(begun, scheduler.figures.unfinished)
        return data.draw(st.integers(0, count - 1)) if count > 1 else 0

    world.go(scheduler, pick=pick, answer=troubled.answer)

    assert not world.early_puts
    for key, uploads in world.uploads.items():
        held = sum(text.startswith(f"{key[0]}/") and key[1] in s.blobs for text, s in world.stores.items())
        assert uploads <= (1 if world.mounts else held) + troubled.excused[key], key
    counts = scheduler.figures
    assert scheduler.finished
    assert counts.known == counts.processed == len(world.facts.rows)
    windows = HELD_UP if {"throttled", "unreachable"} & set(trouble) else 1
    assert begun <= world.settings.limits.window_images * windows + max(len(each.targets) for each in rules)
    for row in world.facts.rows.values():
        repository, _, tag = row.destination.rpartition(":")
        if row.result in ("copied", "unchanged"):
            assert world.complete(repository, tag), row
    assert scheduler._images.manifests.held == scheduler._images.manifests.blobs.held == 0
    assert scheduler._images.fetches.bytes_held == 0


@settings(max_examples=100, deadline=None)
@given(data=st.data(), made=worlds(), steps=st.integers(0, 60))
def test_run_after_a_kill_copies_the_rest(
    data: st.DataObject, made: tuple[World, list[Rule]], steps: int
) -> None:
    """A run after a killed one copies the rest, and sends no confirmed blob again."""
    world, rules = made
    first = world.scheduler(rules, "first")
    running: list[Task] = []
    for _ in range(steps):
        running += world.take_all(first)
        if not running:
            break
        task = running.pop(data.draw(st.integers(0, len(running) - 1)))
        first.settle(world.answer(task), world.now)
    confirmed = Counter(world.uploads)

    second = world.run(rules, "second")

    assert second.finished
    for (registry, name), uploads in world.uploads.items():
        if world.mounts and confirmed[registry, name]:
            assert confirmed[registry, name] == uploads
    for row in world.facts.rows.values():
        repository, _, tag = row.destination.rpartition(":")
        if row.run == "second" and row.result in ("copied", "unchanged"):
            assert world.complete(repository, tag), row


@settings(max_examples=100, deadline=None)
@given(data=st.data(), made=worlds(), steps=st.integers(0, 60))
def test_stopped_run_gives_out_only_pushes(
    data: st.DataObject, made: tuple[World, list[Rule]], steps: int
) -> None:
    """A stopped run gives out only pushes, and no tag points to incomplete content."""
    world, rules = made
    scheduler = world.scheduler(rules)
    running: list[Task] = []
    for _ in range(steps):
        running += world.take_all(scheduler)
        if not running:
            break
        task = running.pop(data.draw(st.integers(0, len(running) - 1)))
        scheduler.settle(world.answer(task), world.now)
    scheduler.drain(world.now)
    given = len(world.done) + len(running)
    for task in running:
        scheduler.settle(world.answer(task), world.now)
    world.go(scheduler)

    assert all(isinstance(task, PushManifest) for task in world.done[given:])
    assert not world.early_puts
    for text, store in world.stores.items():
        for tag in store.tags:
            assert world.complete(text, tag), f"{text}:{tag}"
