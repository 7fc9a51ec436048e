"""Unchanged mirrors of registries that list the digests of their tags: the requests of each side."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.registry.content import image, layer
from tests.registry.faults import Fault, Reply

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

KINDS = ("harbor", "hub", "quay", "gitlab", "ghcr", "gar", "acr")


def mirror_team(
    command: Command,
    source: Registry,
    mirror: Registry,
    *,
    repositories: int,
    tags: int,
    kind: str = "harbor",
    to: str = "harbor",
) -> None:
    """Copy all images of a team, so that the next run finds them unchanged."""
    for number in range(repositories):
        for tag in range(tags):
            source.add(f"team/app{number}", image(layer(f"{number} {tag}")), f"v{tag}")
    named = {"username": "user", "password": "pass"} if "hub" in (kind, to) else {}
    command.write(
        "auth.json",
        {
            source.address: {"insecure": True, "catalog": kind, **named},
            mirror.address: {"insecure": True, "catalog": to, **named},
        },
    )
    command.rules({f"{source.address}/team/*": f"{mirror.address}/team/"})
    result = command.run()
    assert result.code == 0, result.text


def requests_since(registry: Registry, since: int) -> Counter[str]:
    """The requests since then, by the last part of their path."""
    entries = registry.requests()[since:]
    return Counter(f"{each.method} {each.path.rstrip('/').rpartition('/')[2]}" for each in entries)


def test_unchanged_tags_cost_only_listings(command: Command, scripted: Scripted) -> None:
    """20 repositories of 5 tags cost a page of repositories, and one or two requests each a side."""
    source, mirror = scripted(catalogue="harbor"), scripted(catalogue="harbor")
    mirror_team(command, source, mirror, repositories=20, tags=5)
    before = (len(source.requests()), len(mirror.requests()))

    planned = command.run("plan", "--json")
    between = (len(source.requests()), len(mirror.requests()))
    result = command.run()

    assert (result.code, result.finish["unchanged"], result.finish["copied"]) == (0, 100, 0), result.text
    assert requests_since(source, between[0]) == {"GET repositories": 1, "GET list": 20, "GET artifacts": 20}
    assert requests_since(mirror, between[1]) == {"GET artifacts": 20}
    made = [after - first for first, after in zip(before, between, strict=True)]
    assert made == [41, 20]
    told = json.loads(planned.output)["registries"]
    assert [told[each.address]["compared"] for each in (source, mirror)] == [
        {"by_listing": 100, "by_head": 0}
    ] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_each_catalogue_saves_heads(command: Command, scripted: Scripted, kind: str) -> None:
    """Each catalogue that lists digests saves the HEADs of its side; changed images are copied."""
    source, mirror = scripted(catalogue=kind), scripted(catalogue="v2")
    mirror_team(command, source, mirror, repositories=2, tags=5, kind=kind, to="v2")
    source.add("team/app1", image(layer("new")), "v1")
    before = len(source.requests())

    planned = command.run("plan")
    result = command.run()

    heads = [
        each for each in source.requests()[before:] if each.method == "HEAD" and "blobs" not in each.path
    ]
    assert (result.code, result.finish["unchanged"], result.finish["copied"]) == (0, 9, 1), result.text
    assert mirror.tags("team/app1") == source.tags("team/app1")
    assert {each.path for each in heads} == {"/v2/team/app1/manifests/v1"}
    assert f"tags compared at the source {source.address}: 9 by a listing of its digests, 1 by HEAD" in (
        planned.output
    )
    assert f"tags compared at the destination {mirror.address}: 10 by HEAD" in planned.output


def test_denied_listing_falls_back_to_heads(command: Command, scripted: Scripted) -> None:
    """If a listing of digests is refused, tags are looked up; the log names the needed credential."""
    source, mirror = scripted(catalogue="v2"), scripted(catalogue="harbor")
    mirror_team(command, source, mirror, repositories=3, tags=2, kind="v2")
    denied = Reply(status=403, body='{"errors": [{"code": "FORBIDDEN", "message": "forbidden"}]}')
    mirror.fault(Fault(action=denied, path="/api/v2.0/projects", times=None))

    result = command.run()

    assert (result.code, result.finish["unchanged"]) == (0, 6), result.text
    (line,) = result.events("listing.unused")
    assert "a robot account that may list repositories, artifacts and tags" in line["msg"]


@pytest.mark.parametrize("kind", KINDS)
def test_selection_by_listed_dates(command: Command, scripted: Scripted, kind: str) -> None:
    """`since` and `newest` with `by: pushed` go by the dates of each listing; plan explains them."""
    source, mirror = scripted(catalogue=kind, catalogue_page=2), scripted()
    for tag in ("v1", "v2", "v3"):
        source.add("team/app", image(layer(tag)), tag)
    times = {"v1": 1_767_312_000.0, "v2": 1_767_139_200.0, "v3": 1_767_225_600.0}
    source.store.repositories["team/app"].times.update(times)
    named = {"username": "user", "password": "pass"} if kind == "hub" else {}
    command.write(
        "auth.json",
        {source.address: {"insecure": True, "catalog": kind, **named}, mirror.address: {"insecure": True}},
    )
    options = [
        {"to": f"{mirror.address}/since", "tags": {"since": "2026-01-01"}},
        {"to": f"{mirror.address}/newest", "tags": {"newest": 1, "by": "pushed"}},
    ]
    command.write("images.json", {f"{source.address}/team/app": options})

    result = command.run()
    explained = command.run("plan", "--explain", f"{source.address}/team/app:v2")

    assert result.code == 0, result.text
    assert (set(mirror.tags("since")), set(mirror.tags("newest"))) == ({"v1", "v3"}, {"v1"})
    assert "it was not pushed since 2026-01-01" in explained.output
    assert "ones pushed later of v#: v1" in explained.output


@pytest.mark.parametrize("kind", ["v2", "harbor"])
def test_missing_dates_fail_the_rule(command: Command, scripted: Scripted, kind: str) -> None:
    """Without a listing, or without the right to read it, such a rule fails and says what is missing."""
    source, mirror = scripted(catalogue=kind, catalogue_denied=True), scripted()
    source.add("team/app", image(layer("a")), "v1")
    command.write(
        "auth.json",
        {source.address: {"insecure": True, "catalog": kind}, mirror.address: {"insecure": True}},
    )
    command.write(
        "images.json",
        {f"{source.address}/team/app": {"to": f"{mirror.address}/app", "tags": {"since": "90d"}}},
    )

    result = command.run()

    (failed,) = result.events("rule.failed")
    words = {"v2": "tells no dates of tags", "harbor": "a robot account that may list repositories"}
    assert (result.code, mirror.repositories()) == (1, [])
    assert words[kind] in failed["msg"]
