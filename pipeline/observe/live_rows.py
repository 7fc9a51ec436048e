"""Rows at the bottom of a terminal that are drawn again and again, below the lines that stay.

There is one writer and one thread: rows and a line are one write each, so neither tears the other. A line
overwrites the rows, and these are written below it again unchanged (rich.Live renders everything for each
line). The cursor stays visible and no terminal mode changes: a killed program leaves a working terminal.
"""

from __future__ import annotations

import io
import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.text import Text

_EVERY = 0.24
"""Seconds between two drawings: at most 4 a second."""
_STALE = 10.0
"""Seconds without drawing that mean a suspended program: others may have written to the terminal."""
_REDRAW = 0.05
"""Seconds between two redraws for lines: a flood of lines is written together."""
_MOST_HELD = 1 << 16
"""Bytes of lines that wait for the next redraw."""


def terminal_size(number: int) -> tuple[int, int]:
    """Columns and rows of the terminal; 80 and 24 if it does not know them."""
    with suppress(OSError):
        size = os.get_terminal_size(number)
        if size.columns > 0 and size.lines > 0:
            return size.columns, size.lines
    return 80, 24


class LiveRows:
    """The rows on one terminal.

    Args:
        sink: the descriptor of the terminal.
        size: tells columns and rows.
        clock: seconds.
    """

    def __init__(
        self,
        sink: int,
        *,
        size: Callable[[int], tuple[int, int]] = terminal_size,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """See the class."""
        self._sink = sink
        self._size = size
        self._clock = clock
        encoding = (getattr(sys.stderr, "encoding", None) or "ascii").lower()
        self.fancy = encoding.replace("-", "") == "utf8"
        """Whether the terminal shows more than ASCII."""
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
        """Columns of each row on the screen; empty if there is none."""
        self._drawn = self._redrawn = -_STALE

    def draw(self, rows: Callable[[int, int], Sequence[Text]]) -> None:
        """Draw the rows that fit the columns and rows of the terminal, unless that was done just now."""
        now = self._clock()
        if now - self._drawn < _EVERY and self._widths:
            return
        if now - self._drawn > _STALE:
            self._widths = ()
        width, height = self._size(self._sink)
        lines = rows(width - 1, height)
        self._drawn = now
        self._write_all(self._rendered(lines, width), tuple(line.cell_len for line in lines))

    def above(self, line: bytes) -> None:
        """Write a line (with its line end) above the rows, at the next drawing at the latest."""
        self._held += line
        now = self._clock()
        if not self._widths or now - self._redrawn >= _REDRAW or len(self._held) > _MOST_HELD:
            self._write_all(self._kept, self._widths)

    def close(self) -> None:
        """Remove the rows from the screen."""
        self._write_all(b"", ())

    def _write_all(self, kept: bytes, widths: tuple[int, ...]) -> None:
        """One write: the lines over the present rows, then the new rows."""
        back = self._back(self._size(self._sink)[0]) if self._widths else b""
        held, self._held = self._held, b""
        clear = b"\x1b[J" if self._widths and (held or not kept) else b""
        self._kept, self._widths = (kept, widths) if widths else (b"", ())
        self._redrawn = self._clock()
        self._write(back + clear + held + self._kept)

    def _back(self, width: int) -> bytes:
        """Move the cursor to the first row; a narrower terminal has wrapped the rows."""
        rows = sum(max(1, -(-columns // width)) for columns in self._widths)
        return b"\r" + (f"\x1b[{rows}A".encode() if rows else b"")

    def _rendered(self, lines: Sequence[Text], width: int) -> bytes:
        """The rows, each erasing the rest of its line, and below them nothing: nothing flickers."""
        self._console.width = max(width, 1)
        self._buffer.seek(0)
        self._buffer.truncate()
        for line in lines:
            self._console.print(
                line, end="\x1b[K\n", no_wrap=True, overflow="crop", crop=False, soft_wrap=True
            )
        encoding = "utf-8" if self.fancy else "ascii"
        return (self._buffer.getvalue() + "\x1b[J").encode(encoding, "replace")

    def _write(self, data: bytes) -> None:
        """Write all of it; a lost terminal does not change how the run ends."""
        with suppress(OSError):
            while data:
                data = data[os.write(self._sink, data) :]
