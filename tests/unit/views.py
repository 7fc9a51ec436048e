"""Views of made-up runs, for displays and reports."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from pipeline.model.figures import Figures
from pipeline.scheduler.view import RegistryView, RunView, TransferView

QUAY = RegistryView(
    name="quay.io",
    requests=120,
    read=40_000_000,
    written=0,
    in_flight=6,
    limit=16,
    blobs_in_flight=4,
    blobs_limit=24,
    waiting=0,
    pause=0.0,
    unavailable="",
)
HARBOR = replace(QUAY, name="harbor.corp", read=0, written=40_000_000, in_flight=12, limit=24)


def moving(number: int) -> TransferView:
    """A blob of `number` MB, half of which was sent in ten seconds."""
    return TransferView(
        destination=f"harbor.corp/ml/app{number}",
        image=f"harbor.corp/ml/app{number}:v1",
        digest="sha256:" + f"{number:064x}",
        size=number * 1_000_000,
        sent=number * 500_000,
        seconds=10.0,
    )


def view(seconds: float = 10.0, **fields: Any) -> RunView:
    """A run of 100 images between two registries; fields of RunView and of Figures change it."""
    known = {name: fields.pop(name) for name in list(fields) if name in Figures.__slots__}
    usual: dict[str, Any] = {"known": 100, "copied": 40, "failed": 1, "requests": 120}
    values: dict[str, Any] = {
        "seconds": seconds,
        "figures": Figures(**usual | known),
        "expanded": True,
        "registries": (HARBOR, QUAY),
        "transfers": tuple(moving(number) for number in range(30, 0, -1)),
        "running": Counter({"transfer": 30}),
        "workers": 5,
    } | fields
    return RunView(**values)
