"""Figures of a plan or run, compared with the requests that the registries received."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.e2e.command import Result
    from tests.real.servers import Request
    from tests.registry.log import Entry

_WHAT = {
    "/tags/list": "tags",
    "/manifests/": "manifest",
    "/blobs/uploads/": "upload",
    "/blobs/": "blob",
    "/referrers/": "referrers",
}


def kinds(requests: Iterable[Request | Entry]) -> dict[str, int]:
    """How many requests of each kind a registry received, named as in a plan."""
    found: Counter[str] = Counter()
    for each in requests:
        what = next(what for part, what in _WHAT.items() if part in each.path)
        found[f"{each.method} {what}"] += 1
    return dict(found)


def summary(result: Result) -> dict[str, Any]:
    """The JSON output."""
    found: dict[str, Any] = json.loads(result.output)
    return found


def by_kind(plan: dict[str, Any], registry: str) -> dict[str, int]:
    """A registry in a plan's JSON output."""
    found: dict[str, int] = plan["registries"][registry]["by_kind"]
    return found


def results(found: dict[str, Any]) -> dict[str, str]:
    """The planned or actual result of each image."""
    return {f"{row['source']} -> {row['destination']}": row["result"] for row in found["list"]}


def contents(folder: Path) -> dict[str, str]:
    """Every file and folder below, with the digest of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }
