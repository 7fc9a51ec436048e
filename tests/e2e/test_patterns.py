"""Rules with a `*` in their source, run by the command: what is copied, reported and left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.registry.content import image, layer
from tests.registry.faults import Fault, Reply

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

NAMES = ("team/a", "team/b/c", "team/sandbox/x", "team/z-test", "other/x")
KINDS = ("v2", "harbor", "hub", "quay", "gitlab", "ghcr", "gar", "acr")


def fill(registry: Registry) -> None:
    """An image with two tags in each repository."""
    for name in NAMES:
        registry.add(name, image(layer(name)), "v1", "v2")


def prepare(command: Command, source: Registry, mirror: Registry, *, kind: str = "") -> None:
    """Credentials that name the kind of catalogue, if there is one."""
    named = {"catalog": kind} if kind else {}
    command.write(
        "auth.json", {source.address: {"insecure": True, **named}, mirror.address: {"insecure": True}}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_whole_project_is_copied(command: Command, scripted: Scripted, kind: str) -> None:
    """A whole project is copied to two places, without excluded repositories, with any catalogue."""
    source, mirror = scripted(catalogue=kind, catalogue_page=2), scripted()
    fill(source)
    prepare(command, source, mirror, kind=kind)
    command.write(
        "images.yaml",
        f"""
{source.address}/team/**:
  to: ["{mirror.address}/team/{{rest}}", "{mirror.address}/backup/{{registry}}/{{path}}"]
  repositories: {{exclude: ["sandbox/**", "*-test"]}}
""",
    )

    result = command.run()

    backup = f"backup/{source.address.replace(':', '-')}/team"
    assert result.code == 0, result.text
    assert mirror.repositories() == sorted(f"{front}/{n}" for front in (backup, "team") for n in ("a", "b/c"))
    assert mirror.tags("team/b/c") == source.tags("team/b/c")
    (listed,) = result.events("rule.listed")
    assert (listed["repositories"], listed["catalogue"]) == ("2", kind)


def test_registry_without_nested_paths_gets_flat_names(command: Command, scripted: Scripted) -> None:
    """A registry without nested paths gets one flat name for each repository."""
    source, mirror = scripted(catalogue="ghcr"), scripted()
    fill(source)
    prepare(command, source, mirror, kind="ghcr")
    command.rules({f"{source.address}/team/*": f"{mirror.address}/acme/mirrored-{{flat}}"})

    assert command.run().code == 0
    assert mirror.repositories() == ["acme/mirrored-team-a", "acme/mirrored-team-z-test"]


def test_denied_listing_fails_its_rule(command: Command, scripted: Scripted) -> None:
    """A refused listing fails its rule, names the needed credential, and is in the list of failures."""
    source, mirror = scripted(catalogue="harbor", catalogue_denied=True), scripted()
    fill(source)
    prepare(command, source, mirror)
    rule = {"to": [f"{mirror.address}/x/"], "repositories": {"exclude": ["b"]}, "retries": 0}
    rules = {f"{source.address}/team/*": rule, f"{source.address}/other/x": f"{mirror.address}/y"}
    command.write("images.json", rules)

    result = command.run("--output-failed-images", "failed.json")

    (failed,) = result.events("rule.failed")
    assert (result.code, mirror.repositories(), failed["status"]) == (1, ["y"], "403")
    assert "a listing needs a member of the project, or a robot account" in failed["msg"]
    assert json.loads((command.folder / "failed.json").read_text()) == {f"{source.address}/team/*": rule}


CREDENTIALS = {
    "harbor": "a listing needs a member of the project, or a robot account that may list repositories",
    "ghcr": "a listing needs a classic personal access token with read:packages",
    "quay": "a listing needs an OAuth token that may view repositories, as password of the user $oauthtoken",
    "gitlab": "a listing needs a personal or group access token with read_api",
    "hub": "a listing needs docker login with a personal access token",
    "v2": "a listing needs a login that may list the whole registry",
}
ROBOT = {"username": "team+robot", "password": "secret"}


@pytest.mark.parametrize("kind", CREDENTIALS)
def test_denied_listing_names_the_vendors_credential(command: Command, scripted: Scripted, kind: str) -> None:
    """A refused listing is one line that names the vendor's credential with the right to list."""
    source, mirror = scripted(catalogue=kind, auth="basic", anonymous=False), scripted()
    fill(source)
    command.write(
        "auth.json",
        {source.address: {"insecure": True, "catalog": kind, **ROBOT}, mirror.address: {"insecure": True}},
    )
    command.rules({f"{source.address}/team/*": f"{mirror.address}/x/"})

    result = command.run()

    (failed,) = result.events("rule.failed")
    assert (result.code, mirror.repositories()) == (1, [])
    assert CREDENTIALS[kind] in failed["msg"]
    assert "secret" not in result.text


def test_invalid_repository_names_are_left_out(command: Command, scripted: Scripted) -> None:
    """Listed names that are not valid repositories are left out, and the log counts them."""
    wrong = "team/UP team/../etc team/a:v1 team/-x http://evil/team/x"
    source, mirror = scripted(catalogue="v2", catalogue_extra=wrong), scripted()
    fill(source)
    prepare(command, source, mirror)
    command.rules({f"{source.address}/team/*": f"{mirror.address}/x/"})

    result = command.run()

    (listed,) = result.events("rule.listed")
    assert (result.code, mirror.repositories()) == (0, ["x/a", "x/z-test"]), result.text
    assert listed["invalid"] == "5"
    assert "5 names left out: not a repository's" in listed["msg"]


def test_empty_repository_is_no_failure(command: Command, scripted: Scripted) -> None:
    """A listed repository that is missing or has no tags gets a line, and is not a failure."""
    source, mirror = scripted(catalogue="v2", catalogue_extra="team/gone"), scripted()
    fill(source)
    source.add("team/untagged", image(layer("untagged")))
    prepare(command, source, mirror)
    command.rules({f"{source.address}/team/*": f"{mirror.address}/x/"})

    result = command.run()

    (gone,), lists = result.events("rule.gone"), result.events("rule.expanded")
    assert result.code == 0, result.text
    assert gone["rule"] == f"{source.address}/team/gone"
    empty = [each["rule"] for each in lists if each["selected"] == "0"]
    assert empty == [f"{source.address}/team/untagged"]


def test_incomplete_listing_fails_the_rule(command: Command, scripted: Scripted) -> None:
    """A listing with fewer repositories than the registry counts fails the rule, and copies nothing."""
    source, mirror = scripted(catalogue="harbor", catalogue_hides=1), scripted()
    fill(source)
    prepare(command, source, mirror)
    command.rules({f"{source.address}/team/*": f"{mirror.address}/x/"})

    result = command.run()

    assert (result.code, mirror.repositories()) == (1, [])
    assert result.events("rule.failed")[0]["code"] == "LISTING_SHORT"


def test_failures_are_retried_by_repository(command: Command, scripted: Scripted) -> None:
    """Failures below a pattern are retried by repository, or by tag, without another listing."""
    source, mirror = scripted(catalogue="v2"), scripted()
    fill(source)
    prepare(command, source, mirror)
    command.rules({f"{source.address}/team/**": f"{mirror.address}/x/"})
    denied = Reply(status=403, body='{"errors": [{"code": "DENIED"}]}')
    source.fault(Fault(action=denied, path="/v2/team/a/tags/list", times=None))
    mirror.fault(Fault(action=denied, path="/v2/x/b/c/manifests/v2", method="PUT", times=None))

    result = command.run("--retries", "0")
    failed = (command.folder / "records/failed.yaml").read_text()
    for registry in (source, mirror):
        registry.reset()
    again = command.run("--images", "records/failed.yaml")

    assert (result.code, again.code) == (1, 0), again.text
    assert f"{source.address}/team/a:" in failed
    assert f"{source.address}/team/b/c:v2" in failed
    assert "*" not in failed
    assert source.requests(path="/v2/_catalog") == []
    assert set(mirror.tags("x/a")) == set(mirror.tags("x/b/c")) == {"v1", "v2"}


def test_plan_counts_and_explain_shows_a_pattern(command: Command, scripted: Scripted) -> None:
    """Plan counts what a pattern would copy; --explain shows what it does with one repository."""
    source, mirror = scripted(catalogue="harbor"), scripted()
    fill(source)
    prepare(command, source, mirror)
    command.rules({f"{source.address}/team/**": f"{mirror.address}/x/"})

    planned = command.run("plan")
    explained = command.run("plan", "--explain", f"{source.address}/team/b/c:v1")

    assert "8 images: 8 to copy" in planned.output
    assert explained.code == 0
    assert f"{mirror.address}/x/b/c:v1" in explained.output
    assert mirror.repositories() == []


def test_check_tries_the_listing(command: Command, scripted: Scripted) -> None:
    """Check tries the listing of a pattern, and names the catalogue, or the needed credential."""
    source, mirror = scripted(catalogue="harbor"), scripted()
    fill(source)
    prepare(command, source, mirror)
    command.rules({f"{source.address}/team/**": f"{mirror.address}/x/"})

    good = command.run("check")
    source.set(catalogue_denied=True)
    bad = command.run("check")

    assert (good.code, bad.code) == (0, 1)
    assert "by the catalogue harbor" in good.output
    assert "a robot account that may list" in bad.output


def test_copy_accepts_a_pattern(command: Command, scripted: Scripted) -> None:
    """Copy accepts a pattern with --all-tags, and logins for it only from a file."""
    source, mirror = scripted(catalogue="v2"), scripted()
    fill(source)
    prepare(command, source, mirror)
    words = ("copy", f"{source.address}/team/*", f"{mirror.address}/x/")

    assert "add --all-tags" in command.run(*words).text
    assert "use --auth FILE" in command.run(*words, "--all-tags", "--insecure").text
    assert command.run(*words, "--all-tags").code == 0
    assert mirror.repositories() == ["x/a", "x/z-test"]
