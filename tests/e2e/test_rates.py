"""Rates and bandwidth of the credentials file, checked by the times in the registry's own log."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from tests.e2e.command import workers
from tests.registry.content import image, layer

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted

RATE = 40
BANDWIDTH = 400_000
SECONDS = 5
"""Seconds over which a rate is measured."""


def test_rate_with_workers_killed(command: Command, scripted: Scripted) -> None:
    """No five seconds have more requests than the rate allows, although workers are killed in between."""
    source, mirror = scripted(), scripted()
    for number in range(20):
        source.add("team/app", image(layer(f"{number} one"), layer(f"{number} two")), f"v{number}")
    command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
    plain = {"insecure": True}
    command.write("auth.json", {source.address: plain, mirror.address: {**plain, "rate": f"{RATE}/s"}})

    process = command.start()
    for count in (60, 120):
        mirror.wait_for(count)
        for pid in workers(process.pid):
            os.kill(pid, signal.SIGKILL)
    result = command.end(process)

    assert result.code == 0, result.text
    assert result.events("worker.lost")
    times = sorted(each.at for each in mirror.requests())
    most = max(sum(begin <= at < begin + SECONDS for at in times) for begin in times)
    assert most <= 1.05 * RATE * SECONDS


def test_bandwidth_with_workers_killed(command: Command, scripted: Scripted) -> None:
    """Blobs take the time that the bandwidth implies, although a worker is killed in between."""
    source, mirror = scripted(), scripted()
    for number in range(6):
        source.add("team/app", image(layer(f"{number}", size=200_000)), f"v{number}")
    command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
    plain = {"insecure": True}
    own = {**plain, "bandwidth": f"{BANDWIDTH // 1000}KB/s"}
    command.write("auth.json", {source.address: plain, mirror.address: own})

    process = command.start()
    mirror.wait_for(2, method="PUT", path="/blobs/uploads/", status=201)
    os.kill(workers(process.pid)[0], signal.SIGKILL)
    result = command.end(process)

    assert result.code == 0, result.text
    first = min(each.at for each in mirror.requests(method="PUT", path="/blobs/uploads/"))
    last = max(each.at for each in mirror.requests(method="PUT", path="/manifests/"))
    assert mirror.bytes_received <= 1.05 * BANDWIDTH * (last - first)
