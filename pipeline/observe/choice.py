"""What is seen of a run while it runs: on a terminal a live view, elsewhere the log's own lines.

Whether there is a terminal is decided here and not by rich, which takes FORCE_COLOR and TTY_COMPATIBLE for
one and then writes cursor movements into log files. Importing this module imports no rich.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

ProgressMode = Literal["auto", "live", "plain", "none"]


def choose(
    asked: ProgressMode, *, is_terminal: bool, is_quiet: bool, environ: Mapping[str, str]
) -> Literal["live", "plain", "none"]:
    """What to show.

    Args:
        asked: --progress.
        is_terminal: whether standard error is one.
        is_quiet: --quiet.
        environ: TERM, and CI, where pseudo-terminals are read by nobody as they change.

    Returns:
        `live` only where a terminal can move its cursor, whatever was asked.
    """
    if asked in ("plain", "none"):
        return asked
    if not is_terminal or environ.get("TERM", "") in ("", "dumb"):
        return "plain"
    if asked == "auto" and (is_quiet or environ.get("CI")):
        return "plain"
    return "live"
