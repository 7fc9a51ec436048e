"""`image-syncer list` against scripted registries: its output, and its errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.registry.content import image, layer
from tests.registry.faults import Fault, Reply, throttle

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry


def fill(registry: Registry) -> None:
    """Three repositories of a team, and one of another."""
    for name in ("team/web", "team/api/one", "team/api/two", "other/x"):
        registry.add(name, image(layer(name)), "v2", "v1")


def test_repositories_are_listed_in_order(command: Command, scripted: Scripted) -> None:
    """A namespace is listed at any depth, one repository a line, in order."""
    registry = scripted(catalogue="harbor")
    fill(registry)
    command.insecure(registry.address)

    result = command.run("list", f"{registry.address}/team")

    assert (result.code, result.output.splitlines()) == (
        0,
        [f"{registry.address}/team/{name}" for name in ("api/one", "api/two", "web")],
    )
    assert "has 3 repositories, by the catalogue harbor" in result.text


def test_pattern_shows_what_a_rule_copies(command: Command, scripted: Scripted) -> None:
    """A pattern shows what a rule with it would copy, and how many repositories it leaves out."""
    registry = scripted(catalogue="v2", catalogue_extra="Team/Wrong team/UP")
    fill(registry)
    command.insecure(registry.address)

    result = command.run("list", f"{registry.address}/team/*")

    assert result.output.splitlines() == [f"{registry.address}/team/web"]
    assert "3 others not matched, 2 names left out: not a repository's" in result.text


@pytest.mark.parametrize("kind", ["v2", "harbor"])
def test_tags_are_printed_as_references(command: Command, scripted: Scripted, kind: str) -> None:
    """--tags prints references that a plain list accepts, whether or not the listing has digests."""
    registry = scripted(catalogue=kind)
    fill(registry)
    command.insecure(registry.address)

    result = command.run("list", f"{registry.address}/team/api/**", "--tags", "-q")

    names = [f"{registry.address}/team/api/{name}" for name in ("one", "two")]
    assert result.output.splitlines() == [f"{name}:{tag}" for name in names for tag in ("v1", "v2")]
    assert result.text == ""


def test_json_is_one_object(command: Command, scripted: Scripted) -> None:
    """--json is one object, with digests and times if the listing has them."""
    registry = scripted(catalogue="harbor")
    fill(registry)
    command.insecure(registry.address)

    result = command.run("list", f"{registry.address}/other", "--tags", "--json")

    whole = json.loads(result.output)
    (found,) = whole.pop("repositories")
    digest = registry.tags("other/x")["v1"]
    assert found["repository"] == f"{registry.address}/other/x"
    assert found["tags"][0] == {"tag": "v1", "digest": digest, "pushed": "2023-11-14T22:13:20+00:00"}
    assert (whole["schema"], whole["catalogue"], whole["failed"]) == (1, "harbor", 0)


def test_denied_listing_names_the_credential(command: Command, scripted: Scripted) -> None:
    """A refused listing is one line with the needed credential, and exit code 1."""
    registry = scripted(catalogue="harbor", catalogue_denied=True)
    command.insecure(registry.address)

    result = command.run("list", f"{registry.address}/team")

    (line,) = result.text.splitlines()
    assert (result.code, result.output) == (1, "")
    assert "403 FORBIDDEN" in line
    assert "a listing needs a member of the project, or a robot account" in line


def test_incomplete_listing_prints_no_names(command: Command, scripted: Scripted) -> None:
    """A listing with fewer entries than the registry counts prints no names."""
    registry = scripted(catalogue="harbor", catalogue_hides=2)
    fill(registry)
    command.insecure(registry.address)

    result = command.run("list", f"{registry.address}/team")

    assert (result.code, result.output) == (1, "")
    assert "it has 3 entries, but the registry counts 5" in result.text


def test_failing_repository_exits_1(command: Command, scripted: Scripted) -> None:
    """If a repository's tags cannot be listed, a line says so, the others are printed; exit code 1."""
    registry = scripted(catalogue="v2")
    fill(registry)
    denied = Reply(status=403, body='{"errors": [{"code": "DENIED", "message": "not yours"}]}')
    registry.fault(Fault(action=denied, path="/v2/team/web/tags/list"))
    command.insecure(registry.address)

    result = command.run("list", f"{registry.address}/team", "--tags")

    assert (result.code, len(result.output.splitlines())) == (1, 4)
    assert "team/web: 403 DENIED: not yours" in result.text


def test_requested_pause_is_waited_for(command: Command, scripted: Scripted) -> None:
    """A pause that the registry asks for is waited for, within --patience."""
    registry = scripted(catalogue="harbor")
    fill(registry)
    command.insecure(registry.address)
    registry.fault(throttle(retry_after="1"))

    assert len(command.run("list", f"{registry.address}/team").output.splitlines()) == 3
    registry.fault(throttle(retry_after="9"))
    assert command.run("list", f"{registry.address}/team", "--patience", "1s").code == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("list",), "list needs one namespace"),
        (("list", "a", "b"), "list needs one namespace"),
        (("list", "team/*"), "names no registry"),
        (("list", "r.io/team:v1"), "not a repository name"),
        (("plan", "--tags"), "--tags is a flag of list"),
    ],
)
def test_usage_errors_need_no_request(command: Command, words: tuple[str, ...], message: str) -> None:
    """Wrong arguments are reported before any request."""
    result = command.run(*words)

    assert result.code == 2
    assert message in result.text
