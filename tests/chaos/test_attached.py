"""The checker finds an artifact that was not copied, and one that is not listed."""

from __future__ import annotations

import json
from random import Random

import pytest

from tests.chaos.attached import attach, attached
from tests.chaos.checker import Said, Task
from tests.chaos.expect import WHOLE
from tests.chaos.judge import judge
from tests.chaos.rules import read_rules
from tests.chaos.watch import Watched
from tests.registry.content import image, layer

PLACE = "copy/app"


@pytest.mark.parametrize("api", ["no", "yes"])
@pytest.mark.parametrize("loss", ["nothing", "artifact", "blob", "entry"])
def test_missing_artifact_is_an_error(api: str, loss: str) -> None:
    """A success that lacks one of its artifacts, a blob of it, or its entry is an error."""
    with Watched(referrers=api) as source, Watched(referrers=api) as mirror:
        top = image(layer("base"))
        source.add("team/app", top, "v1")
        attach(Random(1), source, "team/app", "word")
        here, there = source.store.create("team/app"), mirror.store.create(PLACE)
        there.manifests.update(here.manifests)
        there.blobs.update(here.blobs)
        there.tags.update(here.tags)
        sources = source.world()
        (place,) = sources
        named = min(attached(sources[place], top.digest, api=api == "yes"))
        if loss in ("artifact", "entry"):
            del there.manifests[named]
        if loss == "blob":
            del there.blobs[json.loads(here.manifests[named].content)["layers"][0]["digest"]]
        if loss == "entry" and api == "no":
            there.manifests[named] = here.manifests[named]
            there.untag(top.digest.replace(":", "-"))
        rules = {f"{source.address}/team/app:v1": f"{mirror.address}/{PLACE}"}
        apis = {each.address for each in (source, mirror) if api == "yes"}
        task = Task(rules=read_rules(rules, WHOLE), sources=sources, always=True, apis=apis)
        done = {f"{source.address}/team/app:v1": [f"{mirror.address}/{PLACE}:v1"]}

        wrong = judge(task, Said(code=0, done=done, failed={}), mirror.world(), before={})

    assert (loss == "nothing") == (not wrong), wrong
