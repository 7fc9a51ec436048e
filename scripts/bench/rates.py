"""Rates in a registry's own log: learned from its push-back, and set by the user.

The command itself runs against scripted registries. Requests beyond the limit of any second are refused;
workers are killed while a rate or bandwidth of the user is measured.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.bench.report import judged
from tests.e2e.command import Command, workers
from tests.registry.content import image, layer
from tests.registry.process import start_process

if TYPE_CHECKING:
    from tests.registry.log import Entry

_LEARNED = 10.0
"""Seconds after which a steady rate must be known."""
_LAST = 1.0
"""Seconds at the end in which a run has less to do than the rate allows."""


def rates() -> dict[str, Any]:
    """Run each kind once; prints and returns the figures."""
    figures: dict[str, Any] = {}
    for rate, images in ((10, 45), (20, 90), (40, 180)):
        took, entries = _run(images, layer_bytes=64, allowed=rate)
        first, end = entries[0].at + _LEARNED, entries[-1].at - _LAST
        late = [each for each in entries if first <= each.at <= end]
        refused = sum(each.status == 429 for each in late)
        used = (len(late) - refused) / (end - first) / rate
        print(judged(f"{rate}/s allowed: time, of the least", 1 / used, 1 / 0.95))
        print(judged(f"{rate}/s allowed: refused after {_LEARNED:.0f} s", refused / len(late), 0.03))
        figures[f"{rate}/s allowed"] = {"seconds": took, "used": used, "refused": refused / len(late)}
    took, entries = _run(60, layer_bytes=64, settings={"rate": "40/s"}, kills=2)
    reached = (len(entries) - 1) / (entries[-1].at - entries[0].at) / 40
    print(judged("40/s set, workers killed: off by", abs(1 - reached), 0.05))
    figures["40/s set"] = {"seconds": took, "used": reached}
    took, entries = _run(20, layer_bytes=1_000_000, settings={"bandwidth": "1MB/s"}, kills=1)
    sent = [each for each in entries if each.method == "PUT" and "/uploads/" in each.path]
    begin, end = sent[0].at, max(each.at for each in entries if "/manifests/" in each.path)
    reached = sum(each.length for each in sent) / (end - begin) / 1e6
    print(judged("1 MB/s set, a worker killed: off by", abs(1 - reached), 0.05))
    figures["1 MB/s set"] = {"seconds": took, "used": reached}
    return figures


def _run(
    images: int, *, layer_bytes: int, allowed: int = 0, settings: dict[str, Any] | None = None, kills: int = 0
) -> tuple[float, list[Entry]]:
    """Seconds of one run, and the requests that its destination logged."""
    with (
        start_process() as source,
        start_process(rate=allowed) as mirror,
        tempfile.TemporaryDirectory() as folder,
    ):
        for number in range(images):
            source.add("team/app", image(layer(f"layer {number}", size=layer_bytes)), f"v{number}")
        command = Command(Path(folder))
        command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
        own = {"insecure": True, **(settings or {})}
        command.write("auth.json", {source.address: {"insecure": True}, mirror.address: own})
        began = time.monotonic()
        process = command.start()
        for kill in range(kills):
            mirror.wait_for(10 * (kill + 1), method="PUT")
            for pid in workers(process.pid)[:1]:
                os.kill(pid, signal.SIGKILL)
        result = command.end(process)
        if result.code:
            raise SystemExit(result.text)
        return time.monotonic() - began, sorted(mirror.requests(), key=lambda each: each.at)
