"""Runs whose workers belong to a Dask cluster: the same copies, the same requests."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.figures import kinds
from tests.real.witness import flaws
from tests.registry.content import image, index, layer

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.real.fixtures import StartRegistry
    from tests.real.images import Layout
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

DASK = ("--engine", "dask", "--workers", "2")
KINDS = ("multi", "nested", "single", "artifact", "bare")


@pytest.fixture
def trio(command: Command, scripted: Scripted) -> tuple[Registry, Registry, Registry]:
    """A source, and two empty destinations.

    Its repositories share no layers: whether a mount is read back depends on which others run at that time.
    """
    source, *mirrors = scripted(), scripted(), scripted()
    for number in range(6):
        one, two = (
            image(layer(f"{number} {each}", size=5_000), architecture=each) for each in ("amd64", "arm64")
        )
        source.add(f"team/app{number}", index(one, two) if number % 2 else one, "v1", "v2")
    command.insecure(*(each.address for each in (source, *mirrors)))
    return source, mirrors[0], mirrors[1]


def rules_to(command: Command, source: Registry, mirror: Registry) -> None:
    """Rules that copy everything, but only one platform of two indexes."""
    to = {number: {"to": f"{mirror.address}/ours/app{number}"} for number in range(6)}
    to[1]["platforms"] = to[3]["platforms"] = "linux/arm64"
    command.write("images.json", {f"{source.address}/team/app{number}": each for number, each in to.items()})


def test_cluster_copies_to_a_real_registry(
    command: Command, docker_registry: StartRegistry, layout: Layout
) -> None:
    """Workers of a cluster on this machine copy to a real registry; log lines and metrics name their host."""
    source, mirror = docker_registry(), docker_registry()
    for kind in KINDS:
        layout.send(layout.tagged(kind), source.endpoint, f"team/{kind}:{kind}")
    command.insecure(source.address, mirror.address)
    command.rules({f"{source.address}/team/{kind}": f"{mirror.address}/ours/{kind}" for kind in KINDS})

    result = command.run(*DASK, "--log-level=debug", "--metrics-file=run.prom")

    assert (0, len(KINDS)) == (result.code, result.finish["copied"]), result.text
    assert [[], []] == [flaws(mirror.endpoint, f"ours/{kind}:{kind}") for kind in ("multi", "single")]
    host, metrics = socket.gethostname(), (command.folder / "run.prom").read_text()
    assert f" host={host} worker=dask-" in result.text
    assert f'imagesyncer_host_workers{{host="{host}"}} ' in metrics


def test_same_requests_as_local_workers(command: Command, trio: tuple[Registry, Registry, Registry]) -> None:
    """Cold and unchanged, with and without filters, a run sends the same requests as with local workers."""
    source, *mirrors = trio
    asked = []
    for mirror, flags in zip(mirrors, ((), DASK), strict=True):
        rules_to(command, source, mirror)
        for copied in (12, 0):
            source.log.clear()
            mirror.log.clear()
            result = command.run(f"--records={mirror.address}", *flags)
            assert (0, copied) == (result.code, result.finish["copied"]), result.text
            asked.append((kinds(source.requests()), kinds(mirror.requests())))

    assert asked[:2] == asked[2:]


def test_installed_command_starts_workers(
    command: Command, trio: tuple[Registry, Registry, Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installed command starts workers of a cluster: they import its script without running it again."""
    source, mirror, _ = trio
    rules_to(command, source, mirror)
    script = str(Path(__file__).parents[2] / "bin/image-syncer")
    monkeypatch.setattr(command, "words", lambda *arguments: [sys.executable, script, *arguments])

    result = command.run(*DASK, "--patience=20s")

    assert (0, 12) == (result.code, result.finish["copied"]), result.text
