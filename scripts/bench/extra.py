"""Two measurements without a corpus: the cost of a run with nothing to do, and of 100,000 tags.

The tags are looked up at scripted registries, with the same content on both sides. The first run of each
size has no records; the second, which is judged, finds nothing changed.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from scripts.bench.clients import OURS, ROOT, Job
from scripts.bench.report import judged
from scripts.bench.scripted import asked, repositories, scripted
from scripts.measure import Cost, measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.bench.clients import Client

SIZES = (1_000, 10_000, 100_000)
_IMPORTS = "import requests, structlog, yaml, diskcache"


def start(rounds: int) -> dict[str, Any]:
    """An empty run compared with its unavoidable imports; prints and returns the seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = folder / "images.yaml"
        images.write_text("{}\n")
        run = [
            sys.executable,
            "-m",
            "pipeline",
            "--images",
            str(images),
            "--records",
            str(folder / "records"),
        ]
        commands = {OURS: ["env", f"PYTHONPATH={ROOT}", *run], "imports": [sys.executable, "-c", _IMPORTS]}
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(1 + 3 * rounds):
            for each, command in commands.items():
                cost = measure(command, output=folder / "output.log", folder=folder)
                if cost.status:
                    raise SystemExit((folder / "output.log").read_text()[-3000:])
                seconds[each].append(cost.wall)
    ours, imports = (median(seconds[each][1:]) for each in commands)
    print(f"an empty run: {ours:.3f} s; python -c '{_IMPORTS}': {imports:.3f} s")
    print(judged("an empty run, wall of the imports'", ours / imports, 2.0))
    return seconds


def tags(clients: Sequence[Client], sizes: Sequence[int] = SIZES) -> list[dict[str, Any]]:
    """The cost of unchanged tags by their number; prints and returns the figures."""
    found = [figures for client in clients for size in sizes for figures in _unchanged(client, size)]
    ours = [each for each in found if each["client"] == OURS and each["run"] == "unchanged"]
    for name, unit in (("cpu", "CPU an image"), ("wall", "wall an image")):
        spread = [each[name] / each["tags"] for each in ours]
        print(judged(f"{unit}: {sizes[-1]:,} tags, of {sizes[0]:,}", spread[-1] / spread[0], 1.1))
    for role in ours[0]["memory"]:
        first, last = ours[0]["memory"][role], ours[-1]["memory"].get(role, 0.0)
        print(judged(f"memory of {role}: {sizes[-1]:,} tags, of {sizes[0]:,}", last / first, 1.1))
    return found


def _unchanged(client: Client, size: int) -> list[dict[str, Any]]:
    """The first and the second run of a client over this many tags."""
    figures = []
    with tempfile.TemporaryDirectory() as folder, scripted(size) as source, scripted(size) as destination:
        job = Job(
            source=source, destinations=[destination], repositories=repositories(size), folder=Path(folder)
        )
        before = Counter[str]()
        for run in ("first", "unchanged"):
            cost = measure(client.command(job), output=job.folder / "output.log", folder=job.folder)
            if cost.status:
                raise SystemExit((job.folder / "output.log").read_text()[-3000:])
            now = asked(source) + asked(destination)
            figures.append(_figures(client, size, run, cost, now - before))
            before = now
    return figures


def _figures(client: Client, size: int, run: str, cost: Cost, requests: Counter[str]) -> dict[str, Any]:
    memory: dict[str, float] = {}
    for role, peak in cost.peaks:
        memory[role] = max(memory.get(role, 0.0), peak / 1e6)
    print(
        f"{client.name:14}{run:10}{size:>8,} tags{cost.wall:9.2f} s wall{cost.cpu:9.2f} s CPU"
        f"{cost.cpu / size * 1e6:7.0f} us an image{requests.total() / size:7.3f} requests an image; peak MB: "
        + ", ".join(f"{role} {peak:.0f}" for role, peak in memory.items())
    )
    return {
        "client": client.name,
        "tags": size,
        "run": run,
        **asdict(cost),
        "memory": memory,
        "requests": dict(requests),
    }
