"""`create: true`: missing repositories or projects are created once, before the first upload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.registry.content import image, layer

if TYPE_CHECKING:
    from tests.e2e.command import Command, Result
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry


def copy(
    command: Command, source: Registry, mirror: Registry, *arguments: str, create: bool = True
) -> Result:
    """Copy three repositories of two projects."""
    for name in ("one/a", "one/b", "two/c"):
        source.add(name, image(layer(name)), "v1")
    entry = {"insecure": True, "create": create, "username": "user", "password": "pass"}
    command.write("auth.json", {source.address: {"insecure": True}, mirror.address: entry})
    command.rules(
        {f"{source.address}/{name}": f"{mirror.address}/{name}" for name in ("one/a", "one/b", "two/c")}
    )
    return command.run("--retries", "0", *arguments)


def test_harbor_projects_are_created_private(command: Command, scripted: Scripted) -> None:
    """Harbor's projects are created as private ones, and each is logged."""
    source, mirror = scripted(), scripted(catalogue="harbor", projects_first=True, auth="basic")

    result = copy(command, source, mirror)

    assert result.code == 0, result.text
    assert mirror.repositories() == ["one/a", "one/b", "two/c"]
    assert mirror.store.projects == {
        name: {"project_name": name, "metadata": {"public": "false"}} for name in ("one", "two")
    }
    assert {each["destination"].rpartition("/")[0] for each in result.events("repository.created")} == {
        f"{mirror.address}/{name}" for name in ("one", "two")
    }


def test_nothing_is_created_without_the_option(command: Command, scripted: Scripted) -> None:
    """Without `create`, and in a plan, nothing is created."""
    source, mirror = scripted(), scripted(catalogue="harbor", projects_first=True, auth="basic")

    assert copy(command, source, mirror, create=False).code == 1
    copy(command, source, mirror, "--dry-run")
    assert mirror.store.projects == {}


def test_plan_names_projects_to_create(command: Command, scripted: Scripted) -> None:
    """A plan names each project that a run would create, once, and creates none."""
    source, mirror = scripted(), scripted(catalogue="harbor", projects_first=True, auth="basic")
    mirror.store.projects["two"] = {}

    result = copy(command, source, mirror, "--dry-run")

    assert result.code == 0, result.text
    assert result.output.count("would create the project one") == 1
    assert "project two" not in result.output
    assert list(mirror.store.projects) == ["two"]


def test_denied_creation_fails_its_images(command: Command, scripted: Scripted) -> None:
    """If a project cannot be created, its images fail with that reason."""
    source = scripted()
    mirror = scripted(catalogue="harbor", projects_first=True, auth="basic", catalogue_denied=True)

    result = copy(command, source, mirror)

    assert result.code == 1
    assert "cannot create the project one at" in result.text
    assert "the account may not list" in result.text
