from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from tests.chaos.checker import Said, Task, dangling
from tests.chaos.expect import WHOLE, Form, Held, Wanted, left_of
from tests.chaos.judge import certain_failures, conflict_losers, judge
from tests.chaos.rules import expand, read_rules
from tests.chaos.secrets import leaks
from tests.chaos.watch import Watched
from tests.real.wire import Endpoint, Wire
from tests.registry.asking import ask, begin, finish
from tests.registry.content import artifact, attestation, digest_of, image, index, layer
from tests.registry.faults import Fault, Reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chaos.expect import World
    from tests.registry.content import Content

AMD = image(layer("shared"), layer("amd"))
ARM = image(layer("shared"), layer("arm"), architecture="arm64")
MULTI = index(AMD, ARM, attestation(AMD))
NESTED = index(AMD, index(ARM))
SOURCE, MIRROR = "source:1", "mirror:2"
PLACE = (MIRROR, "copy/app")
RULES = {f"{SOURCE}/team/app": [f"{MIRROR}/copy/app"], f"{SOURCE}/team/tool:v1": [f"{MIRROR}/copy/tool:new"]}


def never(*_: str) -> bool:
    """No tag is late."""
    return False


def hold(contents: dict[str, Content]) -> Held:
    """A repository with these contents by tag."""
    found = Held()
    for tag, top in contents.items():
        for each in top.walk():
            found.manifests[each.digest] = (each.manifest, each.media_type)
        found.blobs |= top.all_blobs
        found.tags[tag] = top.digest
    return found


@dataclass
class Case:
    """A complete copy and the output about it, for a test to break."""

    world: World
    said: Said
    wanted: Wanted = field(default_factory=Wanted)

    @property
    def here(self) -> Held:
        """The larger of the two destinations."""
        return self.world[PLACE]

    def task(self) -> Task:
        """The input of the run."""
        sources = {(SOURCE, "team/app"): hold({"multi": MULTI, "nested": NESTED}),
                   (SOURCE, "team/tool"): hold({"v1": artifact(b"tool")})}  # fmt: skip
        base = Form(self.wanted)
        return Task(rules=read_rules(RULES, base), sources=sources, base=base)

    def wrong(self) -> list[str]:
        """The output of the checker."""
        return judge(self.task(), self.said, self.world, before={})


def complete() -> Case:
    """All three images are complete and listed."""
    done = {
        f"{SOURCE}/team/app:multi": [f"{MIRROR}/copy/app:multi"],
        f"{SOURCE}/team/app:nested": [f"{MIRROR}/copy/app:nested"],
        f"{SOURCE}/team/tool:v1": [f"{MIRROR}/copy/tool:new"],
    }
    world = {
        PLACE: hold({"multi": MULTI, "nested": NESTED}),
        (MIRROR, "copy/tool"): hold({"new": artifact(b"tool")}),
    }
    return Case(world, Said(code=0, done=done, failed={}))


def lose_layer(case: Case) -> None:
    """A layer is gone."""
    del case.here.blobs[next(iter(ARM.all_blobs))]


def change_layer(case: Case) -> None:
    """A layer has other bytes."""
    case.here.blobs[next(iter(AMD.all_blobs))] = b"something else"


def lose_child(case: Case) -> None:
    """A child of an index is gone."""
    del case.here.manifests[ARM.digest]


def reserialise_index(case: Case) -> None:
    """An index is serialised again under its old digest."""
    case.here.manifests[MULTI.digest] = (
        json.dumps(json.loads(MULTI.manifest), indent=4).encode(),
        MULTI.media_type,
    )


def change_type(case: Case) -> None:
    """A manifest has another media type."""
    case.here.manifests[AMD.digest] = (AMD.manifest, "application/json")


def lose_tag(case: Case) -> None:
    """A tag is gone."""
    del case.here.tags["nested"]


def move_tag(case: Case) -> None:
    """A tag points at another image."""
    case.here.tags["nested"] = MULTI.digest


def drop_without_filter(case: Case) -> None:
    """An entry was dropped although no filter asks for it."""
    cut = index(AMD, attestation(AMD))
    case.here.manifests[cut.digest] = (cut.manifest, cut.media_type)
    case.here.tags["multi"] = cut.digest


def omit_from_lists(case: Case) -> None:
    """An image is not in any list."""
    first, *_ = case.said.done
    case.said = replace(case.said, done={key: to for key, to in case.said.done.items() if key != first})


def list_wrong_failure(case: Case) -> None:
    """An image is missing, and another one is listed instead."""
    del case.world[MIRROR, "copy/tool"]
    done = {key: to for key, to in case.said.done.items() if "tool" not in key}
    case.said = replace(
        case.said, code=1, done=done, failed={f"{SOURCE}/team/app:gone": [f"{MIRROR}/copy/app:gone"]}
    )


LOSSES = [lose_layer, change_layer, lose_child, reserialise_index, change_type, lose_tag, move_tag,
          drop_without_filter, omit_from_lists, list_wrong_failure]  # fmt: skip


def test_complete_copy_has_no_errors() -> None:
    """A complete copy has no errors."""
    assert [] == complete().wrong()


@pytest.mark.parametrize("plant", LOSSES)
def test_planted_loss_is_found(plant: Callable[[Case], None]) -> None:
    """Each of ten losses is found despite exit code 0, or if the list does not name it."""
    case = complete()
    plant(case)

    assert case.wrong()


@pytest.mark.parametrize("plant", LOSSES[:8])
def test_listed_success_must_be_complete(plant: Callable[[Case], None]) -> None:
    """An image in the list of successes must be complete, whatever the exit code."""
    case = complete()
    plant(case)
    case.said = replace(case.said, code=143)

    assert any(each.startswith("listed as success") for each in case.wrong())


def test_content_lost_after_confirmation_is_no_error() -> None:
    """Content that a registry lost after confirming it is not an error of the run, in either list."""
    case = complete()
    lose_layer(case)
    task = case.task()
    pairs = [pair for pair in task.pairs() if pair.destination.repository == "copy/app"]

    assert [] == judge(task, case.said, case.world, before={}, lapsed=pairs)
    assert judge(task, case.said, case.world, before={}, lapsed=pairs[1:])


def test_list_of_failures_must_be_exact() -> None:
    """With exit code 1, all missing images are listed, and all listed images are missing."""
    case = complete()
    lose_tag(case)
    listed = {f"{SOURCE}/team/app:nested": [f"{MIRROR}/copy/app:nested"]}
    done = {key: to for key, to in case.said.done.items() if key not in listed}
    case.said = Said(code=1, done=done, failed=listed)
    assert [] == case.wrong()

    case.here.tags["nested"] = NESTED.digest

    assert [
        f"listed as failed, but it is there: {SOURCE}/team/app:nested -> {MIRROR}/copy/app:nested"
    ] == case.wrong()


def test_stopped_run_lists_what_is_undone() -> None:
    """A stopped run lists everything that it left undone, by image or by the rule as written."""
    case = complete()
    lose_tag(case)
    done = {key: to for key, to in case.said.done.items() if "tool" in key}
    case.said = Said(code=143, done=done, failed={f"{SOURCE}/team/app": [f"{MIRROR}/copy/app"]})
    assert [] == case.wrong()

    case.said = replace(case.said, failed={})

    assert [
        f"neither there nor listed: {SOURCE}/team/app:nested -> {MIRROR}/copy/app:nested",
        f"in no list: {SOURCE}/team/app:multi -> {MIRROR}/copy/app:multi",
        f"in no list: {SOURCE}/team/app:nested -> {MIRROR}/copy/app:nested",
    ] == case.wrong()


def test_filtered_index_must_be_exact() -> None:
    """A filtered index is correct only with exactly the wanted entries."""
    case = complete()
    case.wanted = Wanted(arch=("amd64",))
    cut, inner = index(AMD, attestation(AMD)), index(AMD)
    assert 2 == len([each for each in case.wrong() if each.startswith("exit 0")])
    case.world[PLACE] = hold({"multi": cut, "nested": inner})
    assert [] == case.wrong()

    case.here.tags["multi"] = inner.digest

    assert any("1 entries" in each for each in case.wrong())


def test_skipped_image_must_be_absent() -> None:
    """If the filter leaves nothing, the destination and the lists must have nothing."""
    case = complete()
    case.wanted = Wanted(os=("windows",))
    case.world.pop(PLACE)
    case.said = replace(case.said, done={key: to for key, to in case.said.done.items() if "tool" in key})

    assert [] == case.wrong()


def test_rules_name_images_and_destinations() -> None:
    """Rules name all tags, lists, matches and digests, each for every destination, by position."""
    digest = f"sha256:{'0' * 64}"
    rules = {
        "a:1/x": ["b/y"],
        "a:1/x:v1,v2": ["b/y:n1,n2", "c/z"],
        "a:1/x:/^v/": ["b/m"],
        f"a:1/x@{digest}": ["b/d"],
    }

    found = [str(pair) for pair, _ in expand(read_rules(rules, WHOLE), lambda *_: ["v1", "w"], never)]

    assert [
        "a:1/x:v1 -> b/y:v1", "a:1/x:w -> b/y:w",
        "a:1/x:v1 -> b/y:n1", "a:1/x:v1 -> c/z:v1", "a:1/x:v2 -> b/y:n2", "a:1/x:v2 -> c/z:v2",
        "a:1/x:v1 -> b/m:v1",
        f"a:1/x@{digest} -> b/d@{digest}",
    ] == found  # fmt: skip


def test_second_source_of_a_tag_is_not_copied() -> None:
    """The second of two sources for one destination tag is not copied, unless the images are equal."""
    sources = {(SOURCE, name): hold({"v1": top}) for name, top in (("a", AMD), ("b", ARM), ("c", AMD))}
    rules = {f"{SOURCE}/{name}": [f"{MIRROR}/copy/app"] for name in "abc"}
    task = Task(rules=read_rules(rules, WHOLE), sources=sources)

    found = certain_failures(task, {}, immutable=set(), refused=set(), lost=set())

    assert [f"{SOURCE}/b:v1 -> {MIRROR}/copy/app:v1"] == [str(pair) for pair in found]
    assert found == conflict_losers(task)
    world = {(MIRROR, "copy/app"): hold({"v1": AMD})}
    done = {text: to for text, to in rules.items() if "/b" not in text}
    assert [] == judge(task, Said(code=1, done=done, failed={}), world, before={})
    assert judge(task, Said(code=0, done=done, failed={}), world, before={})


@pytest.mark.parametrize(
    ("names", "is_right"), [("ab", True), ("ba", True), ("abc", True), ("a", False), ("b", False)]
)
def test_referrers_tag_keeps_entries_of_both_sides(names: str, *, is_right: bool) -> None:
    """A tag that lists referrers keeps all entries of the source and all earlier ones."""
    tag = f"sha256-{'0' * 64}"
    lists = {
        each: hold({tag: index(*(artifact(name.encode()) for name in each))}) for each in ("a", "b", names)
    }
    rules = {f"{SOURCE}/team/app": [f"{MIRROR}/copy/app"]}
    sources = {(SOURCE, "team/app"): lists["a"], PLACE: lists["b"]}
    task = Task(rules=read_rules(rules, WHOLE), sources=sources)
    done = {f"{SOURCE}/team/app:{tag}": [f"{MIRROR}/copy/app:{tag}"]}

    wrong = judge(task, Said(code=0, done=done, failed={}), {PLACE: lists[names]}, before={})

    assert is_right == (not wrong)


def test_attestations_follow() -> None:
    """An attestation is kept or dropped with its image."""
    repository = hold({"multi": MULTI})

    tree = left_of(repository, MULTI.digest, Form(Wanted(arch=("arm64",))))

    assert tree
    assert [ARM.digest] == [entry["digest"] for entry, _ in tree.entries or ()]


def test_tag_before_its_content_is_noticed() -> None:
    """A tag that is pushed before its content is noticed at once, even if everything is complete later."""
    with Watched(check_references=False) as registry:
        registry.store.watching = True
        registry.add_manifest("copy/app", AMD.manifest, AMD.media_type, ["v1"])
        for blob in AMD.blobs:
            registry.add_blob("copy/app", blob)
        assert 1 == len(registry.store.early)
        registry.add_manifest("copy/app", AMD.manifest, AMD.media_type, ["v2"])

        assert 1 == len(registry.store.early)
    assert "" == dangling(registry.world()[registry.address, "copy/app"], AMD.digest)


def test_blob_uploaded_twice_is_found() -> None:
    """A blob that is uploaded twice is found, unless a fault in its repository or a kill excuses it."""
    blob = layer("twice")
    with Watched() as registry:
        for _ in range(2):
            with Wire(Endpoint(address=registry.address)) as wire:
                assert 201 == finish(wire, begin(wire, "copy/app"), digest_of(blob), blob).status
        assert 1 == len(registry.sent_twice(kills=0))
        assert [] == registry.sent_twice(kills=1)

        registry.fault(Fault(action=Reply(status=500), path="/v2/copy/app/"))
        ask(registry.address, "HEAD", f"/v2/copy/app/blobs/{digest_of(blob)}")

        assert [] == registry.sent_twice(kills=0)


def test_leaked_secret_is_found(tmp_path: Path) -> None:
    """A secret is found in any file except the credentials file."""
    (tmp_path / "auth.json").write_text("pass-word")
    (tmp_path / "records").mkdir()
    with Watched(auth="basic", password="pass-word") as registry:
        assert [] == leaks(tmp_path, [registry])
        (tmp_path / "records" / "x").write_bytes(b"a pass-word b")

        assert ["records/x holds the secret pass-word"] == leaks(tmp_path, [registry])
