"""What an unchanged mirror costs where registries list the digests of their tags, and where they do not.

1,000 repositories of 100 tags, with the same content on both sides. The first run reads what it has no
records of; the second finds nothing changed, and its requests are counted by the registries.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.bench.clients import ROOT
from scripts.bench.report import judged
from scripts.bench.scripted import asked, repositories, scripted
from scripts.measure import measure

if TYPE_CHECKING:
    from collections import Counter

REPOSITORIES, TAGS = 1_000, 100
_MOST = 2_500
"""Requests of each side where digests are listed."""


def listings(count: int = REPOSITORIES, each: int = TAGS) -> dict[str, Any]:
    """Run each kind of catalogue; prints and returns the figures."""
    figures: dict[str, Any] = {}
    for kind in ("harbor", "v2"):
        figures[kind] = _unchanged(kind, count, each)
    for side in ("source", "destination"):
        used = sum(figures["harbor"][side].values())
        print(judged(f"{count * each:,} unchanged tags, requests of the {side}", used, _MOST))
    return figures


def _unchanged(kind: str, count: int, each: int) -> dict[str, Any]:
    """The requests of both sides, seconds and CPU of a run that finds nothing changed."""
    with (
        tempfile.TemporaryDirectory() as name,
        scripted(count * each, each) as source,
        scripted(count * each, each) as mirror,
    ):
        folder, sides = Path(name), (source, mirror)
        logins = {place.address: {"insecure": True, "catalog": kind} for place in sides}
        rules = {
            f"{source.address}/{path}": f"{mirror.address}/{path}"
            for path in repositories(count * each, each)
        }
        (folder / "auth.json").write_text(json.dumps(logins))
        (folder / "images.json").write_text(json.dumps(rules))
        command = [sys.executable, "-m", "pipeline", "--quiet", "--log", "run.log"]
        before: list[Counter[str]] = []
        for _ in range(2):
            before = [asked(place) for place in sides]
            cost = measure(
                ["env", f"PYTHONPATH={ROOT}", *command], output=folder / "output.log", folder=folder
            )
            if cost.status:
                raise SystemExit((folder / "output.log").read_text()[-3000:])
        made = [dict(asked(place) - was) for place, was in zip(sides, before, strict=True)]
    found = {"source": made[0], "destination": made[1]}
    told = "; ".join(f"{side}: {sum(each.values()):,} {each}" for side, each in found.items())
    print(f"{kind:8}{cost.wall:8.1f} s wall{cost.cpu:8.1f} s CPU  {told}")
    return {**found, "wall": cost.wall, "cpu": cost.cpu}
