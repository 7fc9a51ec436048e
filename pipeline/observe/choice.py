"""How a run shows its progress: a live view on a terminal, log lines elsewhere.

This module, not rich, decides whether there is a terminal: rich believes FORCE_COLOR and TTY_COMPATIBLE and
then writes cursor movements into log files. Importing this module does not import rich.
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
        environ: TERM, and CI, where nobody watches the pseudo-terminal.

    Returns:
        `live` only if the terminal can move its cursor.
    """
    if asked in ("plain", "none"):
        return asked
    if not is_terminal or environ.get("TERM", "") in ("", "dumb"):
        return "plain"
    if asked == "auto" and (is_quiet or environ.get("CI")):
        return "plain"
    return "live"
