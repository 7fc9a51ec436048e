"""Requests are counted by the registries: a copy sends what the protocol needs, plus what is listed here."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.real.test_scripts import run

if TYPE_CHECKING:
    from pathlib import Path

REPOS, TAGS, PLATFORMS, COMMON, LAYERS = 3, 2, 2, 3, 6
MOUNTS = COMMON * (REPOS - 1)
READ_BACK = {"HEAD manifest": 1, "HEAD blob": 1}
"""The first manifest and the first blob of each registry are read back."""
BLOBS = COMMON + 2 * REPOS + TAGS * REPOS * (1 + PLATFORMS)
DESTINATIONS = 3
NO_API = {"list referrers": 1}
"""One request detects a source without a referrers API."""


@pytest.fixture(scope="module")
def figures(needs_real: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The measurements of the benchmark with small corpora."""
    path: Path = tmp_path_factory.mktemp("bench") / "figures.json"
    sizes = ("--repos", str(REPOS), "--tags", str(TAGS), "--layer-kb", "1")
    run("-m", "scripts.bench", "many", "fan", *sizes, "--alone", "--rounds", "1", "--json", str(path))
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize(
    ("case", "state", "allowed"),
    [
        ("many", "cold", NO_API | READ_BACK | {"HEAD blob": 1 + MOUNTS}),
        ("many", "unchanged", {}),
        (
            "many",
            "changed",
            NO_API | {"HEAD manifest": 1 + PLATFORMS, "HEAD blob": 1 + LAYERS + PLATFORMS},
        ),
        (
            "fan",
            "cold",
            NO_API
            | {
                "HEAD manifest": DESTINATIONS,
                "HEAD blob": DESTINATIONS * (1 + MOUNTS),
                "GET blob": BLOBS * (DESTINATIONS - 1),
            },
        ),
        ("fan", "unchanged", {}),
    ],
)
def test_copy_sends_only_needed_requests(
    figures: dict[str, Any], case: str, state: str, allowed: dict[str, int]
) -> None:
    """A copy sends only the minimum of requests, plus those allowed by name and number."""
    least = figures["cases"][case]["least"][state]
    made = next(each for each in figures["runs"] if (each["case"], each["state"]) == (case, state))
    counts = Counter(made["source"]) + Counter(made["destination"])

    beyond = {kind: number - int(least.get(kind, 0)) for kind, number in counts.items()}

    assert {} == {kind: number for kind, number in beyond.items() if number > allowed.get(kind, 0)}
