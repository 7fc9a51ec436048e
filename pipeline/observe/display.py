"""The live view of a run on a terminal, below the log's lines."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pipeline.observe.frame import FAILURES, FailureLine, FrameInput, frame

if TYPE_CHECKING:
    from pipeline.log import Event
    from pipeline.observe.history import RunHistory
    from pipeline.observe.live_rows import LiveRows
    from pipeline.scheduler.view import RunView
    from pipeline.settings import Aim


class Display:
    """An observer that draws.

    Args:
        history: what is known of the run.
        rows: of the terminal.
        title: the heading.
        aim: what the run is for.
    """

    def __init__(self, history: RunHistory, rows: LiveRows, *, title: str, aim: Aim = "copy") -> None:
        """See the class."""
        self._history = history
        self._rows = rows
        self._title, self._aim = title, aim
        self._failures: deque[FailureLine] = deque(maxlen=FAILURES)

    def tick(self, view: RunView) -> None:
        """Draw the run, unless that was done just now."""
        scene = FrameInput(
            history=self._history,
            view=view,
            aim=self._aim,
            title=self._title,
            failures=self._failures,
            fancy=self._rows.fancy,
        )
        self._rows.draw(lambda width, height: frame(scene, width=width, height=height))

    def hear(self, event: Event) -> None:
        """Keep the last failures."""
        if event.name in ("image.failed", "image.retry", "rule.failed"):
            fields = event.fields
            parts = (fields.get("side"), fields.get("status"), fields.get("code"))
            source = str(fields.get("source") or fields.get("rule"))
            cause = " ".join(str(part) for part in parts if part)
            self._failures.append(FailureLine(source=source, cause=cause, again=event.name == "image.retry"))
