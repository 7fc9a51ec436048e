"""Real registries that are killed, lose content, change passwords, and are behind bad networks.

Each fault happens at a counted byte on its way through a relay, so that it hits the same moment of the copy
on every machine. The copies are checked by skopeo and plain HTTP.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

import pytest

from tests.real.relay import Harm, Relay
from tests.real.wire import Wire
from tests.real.witness import flaws, manifest_of
from tests.registry.content import image, index

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.command import Command, Result
    from tests.real.fixtures import StartRegistry
    from tests.real.servers import DockerRegistry
    from tests.real.wire import Endpoint

REPOSITORIES, TAGS = 3, ("v1", "v2")
IMAGES = [f"app{number}:{tag}" for number in range(REPOSITORIES) for tag in TAGS]
LAYER = 150_000
TOTAL = LAYER * (1 + REPOSITORIES * (1 + len(TAGS)))
"""Bytes of all layers, without duplicates."""
Side = Literal["source", "mirror"]


def push_all(registry: Endpoint) -> None:
    """Indexes of two platforms that share layers within and across repositories."""
    data = Random(3)
    base = data.randbytes(LAYER)
    for number in range(REPOSITORIES):
        own = data.randbytes(LAYER)
        for tag in TAGS:
            last = data.randbytes(LAYER)
            top = index(image(base, own, last), image(base, last, architecture="arm64"))
            with Wire(registry) as wire:
                for blob in top.all_blobs.values():
                    wire.send_blob(f"team/app{number}", blob)
                for each in top.walk():
                    name = tag if each is top else each.digest
                    wire.send_manifest(f"team/app{number}", name, each.manifest)


@dataclass
class Copy:
    """A copy between two real registries, each behind a relay."""

    command: Command
    registries: dict[Side, DockerRegistry]
    relays: dict[Side, Relay]

    def run(self, *flags: str, password: str = "") -> Result:
        """Run the command with short limits."""
        source, mirror = (self.relays[side].address for side in ("source", "mirror"))
        self.command.words = lambda *words: [sys.executable, "-m", "tests.chaos.hurried", *words]  # type: ignore[method-assign]  # another program
        self.command.rules({f"{source}/team/app{n}": f"{mirror}/copy/app{n}" for n in range(REPOSITORIES)})
        login = {"username": "user", "password": password} if password else {}
        self.command.insecure(source, mirror, **login)
        result = self.command.run(*flags)
        assert "Traceback" not in result.text, result.text
        return result

    def lacking(self) -> list[str]:
        """The differences at the destination."""
        here, there = (self.registries[side].endpoint for side in ("source", "mirror"))
        found = [f"{each}: {flaw}" for each in IMAGES for flaw in flaws(there, f"copy/{each}")]
        changed = (
            each for each in IMAGES if manifest_of(here, f"team/{each}") != manifest_of(there, f"copy/{each}")
        )
        return found or list(changed)


@pytest.fixture
def copy(command: Command, docker_registry: StartRegistry) -> Callable[..., Copy]:
    """A maker of copies, given a relay and the options of both registries."""

    def make(source: Relay, mirror: Relay, **options: object) -> Copy:
        registries: dict[Side, DockerRegistry] = {
            "source": docker_registry(**options),
            "mirror": docker_registry(**options),
        }
        push_all(registries["source"].endpoint)
        source.upstream, mirror.upstream = (each.address for each in registries.values())
        return Copy(command, registries, {"source": source, "mirror": mirror})

    return make


def relays(side: Side, *harms: Harm, reorder: int | None = None) -> tuple[Relay, Relay]:
    """The relays of both sides, one of which does harm."""
    bad, good = Relay("", *harms, reorder=reorder), Relay("")
    return (bad, good) if side == "source" else (good, bad)


@pytest.mark.parametrize("kind", ["cut", "stall", "slow"])
@pytest.mark.parametrize("side", ["source", "mirror"])
def test_bad_network(copy: Callable[..., Copy], side: Side, kind: Literal["cut", "stall", "slow"]) -> None:
    """Connections that are cut, stall or become slow, on either side, cost attempts but no image."""
    way: Literal["up", "down"] = "down" if side == "source" else "up"
    harms = [Harm(kind=kind, way=way, at=TOTAL * part // 10) for part in (1, 4, 7)]
    source, mirror = relays(side, *harms)
    with source, mirror:
        made = copy(source, mirror)
        result = made.run()

    assert harms == made.relays[side].done
    assert result.code == 0, result.text
    assert [] == made.lacking()


@pytest.mark.parametrize("side", ["source", "mirror"])
def test_lost_answers(copy: Callable[..., Copy], side: Side) -> None:
    """Lost answers of a destination, and lost requests to a source, do not change the result."""
    way: Literal["up", "down"] = "up" if side == "source" else "down"
    harms = [Harm(kind="cut", way=way, at=at) for at in (1_000, 6_000, 12_000)]
    source, mirror = relays(side, *harms)
    with source, mirror:
        made = copy(source, mirror)
        result = made.run()

    assert harms == made.relays[side].done
    assert result.code == 0, result.text
    assert [] == made.lacking()


@pytest.mark.parametrize("seed", range(3))
def test_other_order(copy: Callable[..., Copy], seed: int) -> None:
    """Answers that overtake each other on both sides do not change the result."""
    with Relay("", reorder=seed) as source, Relay("", reorder=seed + 100) as mirror:
        made = copy(source, mirror)
        result = made.run()

        assert source.overtaken > 0
        assert mirror.overtaken > 0
    assert result.code == 0, result.text
    assert [] == made.lacking()


@pytest.mark.parametrize("part", [1, 5, 9])
@pytest.mark.parametrize("side", ["source", "mirror"])
def test_killed_and_restarted(copy: Callable[..., Copy], side: Side, part: int) -> None:
    """A registry that is killed and comes back during a run is waited for, and the run is complete."""

    def kill() -> None:
        registry = made.registries[side]
        registry.kill()
        registry.restart()
        made.relays[side].upstream = registry.address

    way: Literal["up", "down"] = "down" if side == "source" else "up"
    source, mirror = relays(side, Harm(kind="call", way=way, at=TOTAL * part // 10, act=kill))
    with source, mirror:
        made = copy(source, mirror)
        result = made.run()

    assert len(made.relays[side].done) == 1
    assert result.code == 0, result.text
    assert [] == made.lacking()


def test_stays_away(copy: Callable[..., Copy]) -> None:
    """A destination that stays down ends the run with 1 and a list; the next run copies the rest."""

    def kill() -> None:
        made.registries["mirror"].kill()

    source, mirror = relays("mirror", Harm(kind="call", way="up", at=TOTAL // 2, act=kill))
    with source, mirror:
        made = copy(source, mirror)
        first = made.run("--patience", "3s", "--retries", "0", "--output-failed-images", "failed.yaml")
        failed = (made.command.folder / "failed.yaml").read_text()
        made.registries["mirror"].restart()
        mirror.upstream = made.registries["mirror"].address
        arrived = [each for each in IMAGES if not _fails(made, each)]
        again = made.run()

    assert first.code == 1, first.text
    assert len(IMAGES) == first.finish["failed"] + first.finish["copied"]
    assert "copy/app" in failed
    assert len(arrived) >= first.finish["copied"]
    assert again.code == 0, again.text
    assert again.finish["unchanged"] >= first.finish["copied"]
    assert [] == made.lacking()


def _fails(made: Copy, name: str) -> bool:
    with Wire(made.registries["mirror"].endpoint) as wire:
        repository, _, tag = f"copy/{name}".rpartition(":")
        return wire.manifest(repository, tag).status != 200


def _repositories(registry: DockerRegistry) -> Path:
    return registry.storage / "docker" / "registry" / "v2" / "repositories"


def _blobs(registry: DockerRegistry) -> list[Path]:
    return sorted((registry.storage / "docker" / "registry" / "v2" / "blobs").glob("*/*/*/data"))


def test_repository_lost(copy: Callable[..., Copy]) -> None:
    """A repository that is removed from a destination's storage between runs is copied again."""
    source, mirror = relays("mirror")
    with source, mirror:
        made = copy(source, mirror)
        assert made.run().code == 0
        shutil.rmtree(_repositories(made.registries["mirror"]) / "copy" / "app1")

        result = made.run()

    assert result.code == 0, result.text
    assert (len(TAGS), len(IMAGES) - len(TAGS)) == (result.finish["copied"], result.finish["unchanged"])
    assert [] == made.lacking()


@pytest.mark.parametrize("which", ["links", "data", "manifests"])
def test_parts_lost(copy: Callable[..., Copy], which: str) -> None:
    """After content was lost below the tags, --force copies everything that is visibly missing."""
    source, mirror = relays("mirror")
    with source, mirror:
        made = copy(source, mirror)
        assert made.run().code == 0
        registry = made.registries["mirror"]
        if which == "links":
            shutil.rmtree(_repositories(registry) / "copy" / "app0" / "_layers")
        elif which == "manifests":
            shutil.rmtree(_repositories(registry) / "copy" / "app0" / "_manifests" / "revisions")
        else:
            for path in _blobs(registry)[::2]:
                path.unlink()

        result = made.run("--force")

    assert result.code == 0, result.text
    assert [] == made.lacking()


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_links_cut_short(copy: Callable[..., Copy], force: tuple[str, ...]) -> None:
    """What distribution wrote when it was killed answers 500: a run repairs tags, one with --force all."""
    source, mirror = relays("mirror")
    with source, mirror:
        made = copy(source, mirror)
        assert made.run().code == 0
        registry = made.registries["mirror"]
        links = [*_repositories(registry).glob("copy/**/link" if force else "copy/**/current/link")]
        for link in links:
            link.write_bytes(b"")

        planned = made.run("plan", *force)
        result = made.run(*force)

    assert links
    if not force:  # where all blobs answer 500, a plan cannot know that pushes help
        assert planned.code == 0, planned.text
    assert result.code == 0, result.text
    assert all(link.read_bytes() for link in links)
    assert [] == made.lacking()


def test_manifests_cut_short(copy: Callable[..., Copy]) -> None:
    """A truncated manifest that distribution keeps is reported, never counted as copied."""
    source, mirror = relays("mirror")
    with source, mirror:
        made = copy(source, mirror)
        assert made.run().code == 0
        registry = made.registries["mirror"]
        tops = {
            link.read_text().partition(":")[2]
            for link in _repositories(registry).glob("copy/**/current/link")
        }
        for path in _blobs(registry):
            if path.parent.name in tops:
                os.truncate(path, 100)

        result = made.run("--retries", "0")

    assert result.code == 1, result.text
    assert (0, len(IMAGES)) == (result.finish["copied"], result.finish["failed"])


def test_layers_cut_short(copy: Callable[..., Copy]) -> None:
    """A truncated layer that distribution keeps does not count as a layer, and is reported."""
    source, mirror = relays("mirror")
    with source, mirror:
        made = copy(source, mirror)
        assert made.run().code == 0
        registry = made.registries["mirror"]
        shutil.rmtree(_repositories(registry) / "copy" / "app0" / "_manifests")
        for path in _blobs(registry):
            if path.stat().st_size == LAYER:
                os.truncate(path, 10)

        result = made.run("--force", "--retries", "0")

    assert result.code == 1, result.text
    assert f"it has 10 bytes, the manifest says {LAYER}" in result.text


@pytest.mark.parametrize("part", [3, 6, 9])
def test_storage_lost_in_mid_run(copy: Callable[..., Copy], part: int) -> None:
    """Content that a destination loses during a run is copied by it, or later with --force."""

    def lose() -> None:
        for path in _blobs(made.registries["mirror"])[::2]:
            path.unlink()

    source, mirror = relays("mirror", Harm(kind="call", way="up", at=TOTAL * part // 10, act=lose))
    with source, mirror:
        made = copy(source, mirror)
        first = made.run()
        again = made.run("--force")

    assert len(mirror.done) == 1
    assert first.code in (0, 1), first.text
    assert again.code == 0, again.text
    assert [] == made.lacking()


@pytest.mark.parametrize("side", ["source", "mirror"])
def test_password_changed(copy: Callable[..., Copy], side: Side) -> None:
    """After a password change images fail with that login named; with the new password they are copied."""

    def change() -> None:
        made.registries[side].set_users({"user": "second word"})

    way: Literal["up", "down"] = "down" if side == "source" else "up"
    source, mirror = relays(side, Harm(kind="call", way=way, at=TOTAL // 2, act=change))
    with source, mirror:
        made = copy(source, mirror, users={"user": "first word"})
        first = made.run(password="first word")
        other: Side = "mirror" if side == "source" else "source"
        made.registries[other].set_users({"user": "second word"})
        again = made.run(password="second word")

    assert len(made.relays[side].done) == 1
    assert first.code == 1, first.text
    assert {"401"} == {event["status"] for event in first.events("run.cause")}
    assert all("auth.json key" in event["msg"] for event in first.events("run.cause"))
    assert "first word" not in first.text
    assert again.code == 0, again.text
    assert [] == made.lacking()
