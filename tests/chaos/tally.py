"""The totals of many rounds: how runs ended, by fault, and their cost."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.play import Played

_CODES = (0, 1, 3, 129, 130, 143, -9)


class Tally:
    """The sums over rounds."""

    def __init__(self) -> None:
        """Start with no rounds."""
        self.counted = self.faults = self.requests = 0
        self.failed: list[int] = []
        """Seeds."""
        self._met = Counter[str]()
        self._ends: defaultdict[str, Counter[int]] = defaultdict(Counter)

    def add(self, played: Played) -> None:
        """Add a round."""
        self.counted += bool(played.delivered)
        self.faults += len(played.delivered)
        self.requests += played.requests
        self.failed += [played.seed] * bool(played.wrong)
        for kinds, code in played.runs:
            self._met.update(kinds)
            for kind in {*kinds, "any run"}:
                self._ends[kind][code] += 1

    def lines(self) -> Iterator[str]:
        """A table with one line per fault: how often it happened, and the exit codes of these runs."""
        yield f"{'met':22}{'times':>7}{'runs':>7}" + "".join(f"{f'exit {code}':>10}" for code in _CODES)
        for kind, ends in sorted(self._ends.items()):
            times = self._met[kind] or ""
            cells = "".join(f"{ends[code] or '':>10}" for code in _CODES)
            yield f"{kind:22}{times:>7}{ends.total():>7}{cells}"
