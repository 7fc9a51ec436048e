"""The progress of a check, on a terminal: drawn while the check waits, below the lines of its findings."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.text import Text

from pipeline.log import printable
from pipeline.model.units import format_count, format_duration
from pipeline.observe.frame import NARROW, RowPart, bar, heading, shortened_end, with_parts
from pipeline.observe.live_rows import LiveRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pipeline.commands.check.finding import Finding, FindingState

_REGISTRIES = 5
_LEAST_DONE = 3
"""Repositories after which an estimate is more than a guess."""
_BAR = 20


class Checked(Protocol):
    """One registry, as far as the view needs it."""

    @property
    def name(self) -> str:
        """The registry."""
        ...

    @property
    def total(self) -> int:
        """Repositories to try."""
        ...

    @property
    def done(self) -> int:
        """Repositories that were tried, or will not be."""
        ...

    @property
    def probed(self) -> bool:
        """Whether it has answered, or is known to be unreachable."""
        ...


class CheckView:
    """The view of one check.

    Args:
        rows: of the terminal.
        title: the heading.
        clock: seconds.
    """

    def __init__(self, rows: LiveRows, *, title: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without drawing."""
        self._rows, self._title, self._clock = rows, title, clock
        self._began = clock()
        self._states: Counter[FindingState] = Counter()

    def tick(self, checks: Sequence[Checked]) -> None:
        """Draw, unless that was done just now."""
        self._rows.draw(lambda width, height: self._frame(checks, width)[: max(0, height - 1)])

    def hear(self, finding: Finding) -> None:
        """Count a finding."""
        self._states[finding.state] += 1

    def show(self, line: str) -> None:
        """Write a line above the view."""
        self._rows.above(f"{printable(line)}\n".encode(errors="replace"))

    def _frame(self, checks: Sequence[Checked], width: int) -> list[Text]:
        """Heading, bar, registries with work left, the effect of Ctrl-C."""
        done, total = sum(each.done for each in checks), sum(each.total for each in checks)
        lines = [self._heading(done, total, width), self._bar(done, total, width)]
        slow = [each for each in checks if not each.probed or each.done < each.total]
        shown = slow if len(slow) <= _REGISTRIES else slow[: _REGISTRIES - 1]
        room = min(max((len(each.name) for each in shown), default=0), width // 2)
        for each in shown:
            count = f"{each.done:,} of {format_count(each.total, 'repository', 'repositories')}"
            count = count if width >= NARROW else f"{each.done:,} of {each.total:,}"
            name = shortened_end(each.name, room).ljust(room)
            lines.append(Text(f"{name}  {count if each.probed else 'no answer yet'}"))
        if len(slow) > len(shown):
            lines.append(Text(f"... and {len(slow) - len(shown):,} more registries", style="dim"))
        lines.append(Text("Ctrl-C: stop.  Nothing is changed.", style="dim"))
        for line in lines:
            line.truncate(max(0, width), overflow="ellipsis" if self._rows.fancy else "crop")
        return lines

    def _heading(self, done: int, total: int, width: int) -> Text:
        gone, left = self._clock() - self._began, "time left unknown"
        if done >= min(_LEAST_DONE, total):
            left = f"about {format_duration(round((total - done) * gone / max(1, done)))} left"
        return heading(self._title, f"{format_duration(round(gone))} elapsed, {left}", width)

    def _bar(self, done: int, total: int, width: int) -> Text:
        line, gone = Text("checked "), self._clock() - self._began
        if width >= NARROW:
            line.append_text(bar(done / max(1, total), _BAR, fancy=self._rows.fancy))
        line.append(f"{done:,}/{total:,} {100 * done // max(1, total)} %", style="bold")
        warnings, failed = self._states["warning"], self._states["failed"]
        parts = (
            RowPart(2, f"{done / gone:.3g}/s" if gone and done else ""),
            RowPart(1, format_count(warnings, "warning") if warnings else "", "yellow"),
            RowPart(0, f"{failed:,} FAILED" if failed else "", "bold red"),
        )
        return with_parts(line, parts, width)


@contextmanager
def live_view(title: str) -> Iterator[CheckView]:
    """A view on standard error, which disappears at the end."""
    rows = LiveRows(sys.stderr.fileno())
    try:
        yield CheckView(rows, title=title)
    finally:
        rows.close()
