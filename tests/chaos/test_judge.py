"""The judge finds planted violations of the rules' options."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos.checker import Said, Task
from tests.chaos.expect import WHOLE, Held, Place
from tests.chaos.judge import judge, unwanted
from tests.chaos.rules import read_rules
from tests.chaos.test_checker import AMD, ARM, MIRROR, MULTI, NESTED, PLACE, SOURCE, hold
from tests.registry.content import index

if TYPE_CHECKING:
    from tests.chaos.expect import World

APP, COPY = f"{SOURCE}/team/app", f"{MIRROR}/copy/app"
OLD = hold({"v1": ARM})


def task(value: Any, **more: Any) -> Task:
    """One rule, for a source with three tags."""
    sources = {(SOURCE, "team/app"): hold({"v1": AMD, "v2": MULTI, "edge": NESTED})}
    return Task(rules=read_rules({APP: value}, WHOLE), sources=sources, **more)


def said(*done: str, code: int = 0, failed: dict[str, Any] | None = None) -> Said:
    """The output of a run in which these tags succeeded."""
    return Said(code=code, done={f"{APP}:{tag}": [f"{COPY}:{tag}"] for tag in done}, failed=failed or {})


def wrong(of: Task, what: Said, there: Held, before: Held | None = None) -> list[str]:
    """The errors that the judge finds."""
    return judge(of, what, {PLACE: there}, before={PLACE: before} if before else {})


KEEP = {"to": COPY, "tags": ["v1"], "keep": "v*"}


def test_kept_tag_moves_only_with_force() -> None:
    """A kept tag stays and is a success; only --force may move it."""
    assert [] == wrong(task(KEEP), said("v1"), OLD, OLD)
    assert [] == wrong(task(KEEP), said("v1"), hold({"v1": AMD}))
    assert [] == wrong(task(KEEP, force=True), said("v1"), hold({"v1": AMD}), OLD)

    assert wrong(task(KEEP), said("v1"), hold({"v1": AMD}), OLD)
    assert wrong(task(KEEP), said(), OLD, OLD)
    assert wrong(task(KEEP), said(), Held())
    assert wrong(task(KEEP), said(code=1, failed={f"{APP}:v1": [f"{COPY}:v1"]}), OLD, OLD)


HOLD = {"to": COPY, "tags": ["v1"], "min_age": "30d"}


def test_held_image_is_not_copied() -> None:
    """A held image is not copied, moved or listed, even with --force."""
    assert [] == wrong(task(HOLD), said(), Held())
    assert [] == wrong(task(HOLD), said(), OLD, OLD)
    assert [] == wrong(task(HOLD, force=True), said(), OLD, OLD)

    assert wrong(task(HOLD), said(), hold({"v1": AMD}))
    assert wrong(task(HOLD, force=True), said("v1"), hold({"v1": AMD}), OLD)
    assert wrong(task(HOLD), said("v1"), OLD, OLD)
    assert wrong(task(HOLD), said("v1"), Held())


def test_short_quarantine_ends() -> None:
    """A short quarantine may be over, and is over once the round has waited for it."""
    short = HOLD | {"min_age": "1s"}

    assert [] == wrong(task(short), said(), Held())
    assert [] == wrong(task(short), said("v1"), hold({"v1": AMD}))
    failed = said(code=1, failed={f"{APP}:v1": [f"{COPY}:v1"]})
    assert [] == wrong(task(short), failed, Held())
    assert wrong(task(short), failed, hold({"v1": AMD}))
    assert wrong(task(short, ripe=True), said(), Held())
    fresh = task(short, ripe=True, fresh={Place(SOURCE, "team/app", "v1")})
    assert [] == wrong(fresh, said(), Held())
    (pair,) = task(short).pairs()
    assert [] == wrong(task(short, ripe=True, unseen={pair}), said(), Held())
    assert wrong(fresh, said("v1"), hold({"v1": AMD}))


@pytest.mark.parametrize("optional", [False, True])
def test_optional_failure_keeps_the_exit_code(optional: bool) -> None:  # noqa: FBT001 - pytest's
    """A failure of an optional rule is listed, and does not change the exit code."""
    value = {"to": COPY, "tags": ["v1"], "optional": optional}
    listed = {f"{APP}:v1": {"to": [f"{COPY}:v1"], "optional": optional}}

    assert optional == (not wrong(task(value), said(failed=listed), Held()))
    assert optional != (not wrong(task(value), said(code=1, failed=listed), Held()))


def test_failed_list_keeps_options() -> None:
    """An image in the list of failures without its rule's options does not match."""
    value = {"to": COPY, "tags": ["v2"], "platforms": "linux/amd64"}
    listed = {f"{APP}:v2": {"to": [f"{COPY}:v2"], "platforms": "linux/amd64"}}

    assert [] == wrong(task(value), said(code=1, failed=listed), Held())
    assert wrong(task(value), said(code=1, failed={f"{APP}:v2": [f"{COPY}:v2"]}), Held())


def test_first_filter_for_a_tag_applies() -> None:
    """The first of two filters for one tag applies; for two tags each has its own."""
    amd = {"to": COPY, "tags": ["v2"], "platforms": "linux/amd64", "attestations": "drop"}
    one_tag = task([amd, {"to": COPY, "tags": ["v2"]}])
    two_tags = task([amd, {"to": f"{COPY}:{{tag}}-all", "tags": ["v2"]}])
    cut = index(AMD)
    both = hold({"v2": cut, "v2-all": MULTI})
    done = {f"{APP}:v2": [f"{COPY}:v2", f"{COPY}:v2-all"]}

    assert [] == wrong(one_tag, said("v2", code=1), hold({"v2": cut}))
    assert wrong(one_tag, said("v2"), hold({"v2": cut}))
    assert wrong(one_tag, said("v2", code=1), hold({"v2": MULTI}))
    assert [] == wrong(two_tags, Said(code=0, done=done, failed={}), both)
    assert wrong(two_tags, Said(code=0, done=done, failed={}), hold({"v2": cut, "v2-all": cut}))


@pytest.mark.parametrize(("form", "right"), [("single", AMD), ("trim", index(AMD)), ("sparse", MULTI)])
def test_index_form_must_match_its_option(form: str, right: Any) -> None:
    """Each form of an index is correct only for its own option."""
    value = {"to": COPY, "tags": ["v2"], "platforms": "linux/amd64", "attestations": "drop", "index": form}

    for there in (AMD, index(AMD), MULTI):
        assert (there is right or there == right) == (not wrong(task(value), said("v2"), hold({"v2": there})))


def test_index_of_two_images_has_no_single_one() -> None:
    """An index with two images has no single one, so it cannot be copied."""
    value = {"to": COPY, "tags": ["v2"], "index": "single"}
    failed = {f"{APP}:v2": {"to": [f"{COPY}:v2"], "index": "single"}}

    assert [] == wrong(task(value), said(code=1, failed=failed), Held())
    assert wrong(task(value), said("v2"), hold({"v2": MULTI}))


def test_unwanted_content_must_be_absent() -> None:
    """An excluded tag, and a child that a filter drops, must not be at the destination."""
    value = {"to": COPY, "tags": {"exclude": ["v1"]}, "platforms": "linux/arm64", "attestations": "drop"}
    cut = index(ARM)
    world: World = {PLACE: hold({"v2": cut, "edge": index(cut)})}

    def found() -> list[str]:
        return unwanted(task(value), world, first={}, known={})

    assert [] == found()
    world[PLACE].tags["v1"] = ARM.digest
    assert [f"nobody wants v1 in {COPY}"] == found()
    del world[PLACE].tags["v1"]
    world[PLACE].manifests[AMD.digest] = (AMD.manifest, AMD.media_type)
    assert [f"nobody wants {AMD.digest} in {COPY}"] == found()


def test_rule_with_too_few_tags_fails() -> None:
    """A rule with too few tags, or without a repository, fails as a whole."""
    assert [] == task({"to": COPY, "tags": {"exclude": ["*"]}}).failing()
    assert task({"to": COPY, "tags": "none*"}).failing()
    assert replace(task(COPY), sources={}).failing()
