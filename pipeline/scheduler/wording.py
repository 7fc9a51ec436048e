"""The one canonical line of each image, for a run, for its plan and for its proof.

A run has the original tool's wording, which people grep for, with ours where it has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.log import Level
    from pipeline.model.facts import Result
    from pipeline.settings import Aim

_Line = tuple[str, "Level", str]
_UP_TO_DATE: _Line = ("image.unchanged", "info", "Skip synchronizing manifest from {pair}: up to date{why}.")
_SKIPPED: _Line = ("image.skipped", "info", "Skip synchronizing manifest from {pair}: {why}.")
_FAILED = "image.failed"

LINES: Mapping[Aim, Mapping[Result, _Line]] = {
    "copy": {
        "copied": ("image.done", "info", "Finish synchronizing manifest from {pair}."),
        "unchanged": _UP_TO_DATE,
        "skipped": _SKIPPED,
        "failed": (_FAILED, "error", "Failed to executed synchronizing manifest from {pair}: {why}."),
    },
    "plan": {
        "copied": ("image.to_copy", "info", "Would synchronize manifest from {pair}."),
        "unchanged": _UP_TO_DATE,
        "skipped": _SKIPPED,
        "failed": (_FAILED, "error", "Would fail to synchronize manifest from {pair}: {why}."),
    },
    "verify": {
        "copied": ("image.verified", "info", "Verified manifest from {pair}."),
        "unchanged": ("image.verified", "info", "Verified manifest from {pair}: complete{why}."),
        "skipped": _SKIPPED,
        "failed": (_FAILED, "error", "Found incomplete manifest from {pair}: {why}."),
    },
}
"""By aim and result: the event's name, its level, its sentence."""


def sentence(aim: Aim, result: Result, *, pair: str, why: str) -> str:
    """The line; `why` is in brackets where the image is up to date."""
    if result == "unchanged":
        why = f" ({why})" if why else ""
    return LINES[aim][result][2].format(pair=pair, why=why)
