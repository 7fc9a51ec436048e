"""The live view on a terminal, below the log's lines.

One writer, one thread: a frame and a log line are one write each, so neither tears the other. A log line
overwrites the view, and the kept frame is written below it again without being rendered (rich.Live renders
everything for each line). The cursor stays visible and no terminal mode changes: a killed run leaves a
working terminal.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.console import Console

from pipeline.observe.frame import FailureLine, FrameInput, frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.text import Text

    from pipeline.log import Event
    from pipeline.observe.history import RunHistory
    from pipeline.scheduler.view import RunView
    from pipeline.settings import Aim

_EVERY = 0.24
"""Seconds between two frames: at most 4 a second."""
_STALE = 10.0
"""Seconds after which others have written to the terminal: the program was stopped and continued."""
_REDRAW = 0.05
"""Seconds between two redraws for log lines: a flood of lines is written together."""
_MOST_HELD = 1 << 16
"""Bytes of log lines that wait for the next redraw."""


def terminal_size(number: int) -> tuple[int, int]:
    """Columns and rows of the terminal; 80 and 24 if it does not know them."""
    with suppress(OSError):
        size = os.get_terminal_size(number)
        if size.columns > 0 and size.lines > 0:
            return size.columns, size.lines
    return 80, 24


class Display:
    """An observer that draws.

    Args:
        history: what is known of the run.
        sink: the descriptor of the terminal.
        title: the heading.
        aim: what the run is for.
        size: tells columns and rows.
        clock: seconds.
    """

    def __init__(
        self,
        history: RunHistory,
        sink: int,
        *,
        title: str,
        aim: Aim = "copy",
        size: Callable[[int], tuple[int, int]] = terminal_size,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """See the class."""
        self._history = history
        self._sink = sink
        self._title, self._aim = title, aim
        self._size = size
        self._clock = clock
        self._failures: deque[FailureLine] = deque(maxlen=3)
        encoding = (getattr(sys.stderr, "encoding", None) or "ascii").lower()
        self._fancy = encoding.replace("-", "") == "utf8"
        self._buffer = io.StringIO()
        self._console = Console(
            file=self._buffer,
            force_terminal=True,
            force_jupyter=False,
            force_interactive=False,
            markup=False,
            highlight=False,
            emoji=False,
            legacy_windows=False,
        )
        self._kept = self._held = b""
        self._widths: tuple[int, ...] = ()
        """Columns of each row of the frame on the screen; empty: there is none."""
        self._drawn = self._redrawn = -_STALE

    def tick(self, view: RunView) -> None:
        """Draw the run, unless that was done just now."""
        now = self._clock()
        if now - self._drawn < _EVERY and self._widths:
            return
        if now - self._drawn > _STALE:
            self._widths = ()
        width, height = self._size(self._sink)
        scene = FrameInput(
            history=self._history,
            view=view,
            aim=self._aim,
            title=self._title,
            failures=self._failures,
            fancy=self._fancy,
        )
        lines = frame(scene, width=width - 1, height=height)
        self._drawn = now
        self._draw(self._rendered(lines, width), tuple(line.cell_len for line in lines))

    def hear(self, event: Event) -> None:
        """Keep the last failures."""
        if event.name in ("image.failed", "image.retry", "rule.failed"):
            fields = event.fields
            parts = (fields.get("side"), fields.get("status"), fields.get("code"))
            source = str(fields.get("source") or fields.get("rule"))
            cause = " ".join(str(part) for part in parts if part)
            self._failures.append(FailureLine(source=source, cause=cause, again=event.name == "image.retry"))

    def above(self, line: bytes) -> None:
        """Write a line of the log (with its line end) above the view, at the next tick at the latest."""
        self._held += line
        now = self._clock()
        if not self._widths or now - self._redrawn >= _REDRAW or len(self._held) > _MOST_HELD:
            self._draw(self._kept, self._widths)

    def close(self) -> None:
        """Remove the view from the screen."""
        self._draw(b"", ())

    def _draw(self, kept: bytes, widths: tuple[int, ...]) -> None:
        """One write: the log's lines over the present view, then the new view."""
        back = self._back(self._size(self._sink)[0]) if self._widths else b""
        held, self._held = self._held, b""
        clear = b"\x1b[J" if self._widths and (held or not kept) else b""
        self._kept, self._widths = (kept, widths) if widths else (b"", ())
        self._redrawn = self._clock()
        self._write(back + clear + held + self._kept)

    def _back(self, width: int) -> bytes:
        """Move the cursor to the first row of the frame; a narrower terminal has wrapped its rows."""
        rows = sum(max(1, -(-columns // width)) for columns in self._widths)
        return b"\r" + (f"\x1b[{rows}A".encode() if rows else b"")

    def _rendered(self, lines: list[Text], width: int) -> bytes:
        """The rows, each erasing the rest of its line, and below them nothing: nothing flickers."""
        self._console.width = max(width, 1)
        self._buffer.seek(0)
        self._buffer.truncate()
        for line in lines:
            self._console.print(
                line, end="\x1b[K\n", no_wrap=True, overflow="crop", crop=False, soft_wrap=True
            )
        encoding = "utf-8" if self._fancy else "ascii"
        return (self._buffer.getvalue() + "\x1b[J").encode(encoding, "replace")

    def _write(self, data: bytes) -> None:
        """Write all of it; a lost terminal does not change how the run ends."""
        with suppress(OSError):
            while data:
                data = data[os.write(self._sink, data) :]
