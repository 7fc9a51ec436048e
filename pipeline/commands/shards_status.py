"""The status of a folder of shards: the sum of their records."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from pipeline.commands.run_status import Status, as_object, continues, head, read_status, result_lines
from pipeline.dataclass import dataclass
from pipeline.errors import MachineError
from pipeline.model.facts import RESULTS
from pipeline.model.figures import Figures
from pipeline.model.units import format_count
from pipeline.observe.run_state import RUNNING, RunState
from pipeline.process import Process
from pipeline.report.causes import merged
from pipeline.settings import Shard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pipeline.commands.run_status import StatusState
    from pipeline.observe.run_state import Wait

_FOLDER = re.compile(r"([0-9]{1,9})-of-([0-9]{1,9})")
_SHOWN = 8
"""Shards whose end is shown to a person."""
_WORDS = {
    "done": "done",
    "running": "running",
    "stopping": "stopping",
    "failed": "with failures",
    "stopped": "stopped",
    "lost": "killed",
    "unreadable": "unreadable",
    "not_started": "not started",
}
"""States in the order in which they are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardsStatus:
    """The last run of each shard."""

    path: Path
    count: int
    """Of all shards; those without records have not begun."""
    found: Mapping[int, Status]
    """By index."""
    unreadable: Mapping[int, str]
    """By index: why the records of a shard are unreadable."""
    now: float

    @property
    def states(self) -> Counter[str]:
        """How many shards are in each state."""
        counts = Counter[str](each.state for each in self.found.values())
        unbegun = self.count - len(self.found) - len(self.unreadable)
        return counts + Counter({"unreadable": len(self.unreadable), "not_started": unbegun})

    @property
    def total(self) -> Status:
        """All shards as if they were one run."""
        parts = self.found.values()
        return Status(
            state=self._state,
            run_state=_sum([each.run_state for each in parts], is_whole=len(parts) == self.count),
            counts={result: sum(each.counts[result] for each in parts) for result in RESULTS},
            causes=merged(cause for each in parts for cause in each.causes),
            now=self.now,
        )

    @property
    def _state(self) -> StatusState:
        """One word for all: running while any is, otherwise the worst state."""
        states = self.states
        if states["running"] or states["stopping"]:
            return "running"
        if states["lost"]:
            return "lost"
        if states["stopped"] or states["unreadable"] or states["not_started"]:
            return "stopped"
        return "failed" if states["failed"] else "done"


def _sum(states: Sequence[RunState], *, is_whole: bool) -> RunState:
    """The run states of several runs as one; without `is_whole`, others may be missing."""
    running = [each for each in states if each.exit_code == RUNNING]
    began, seen = min(each.began for each in states), max(each.seen for each in states)
    figures = Figures()
    for each in states:
        figures.add(each.figures)
    return RunState(
        run="",
        version=states[0].version,
        process=Process(),
        command=(),
        folder="",
        began=began,
        seen=seen,
        seconds=seen - began,
        exit_code=RUNNING if running or not is_whole else max(each.exit_code for each in states),
        figures=figures,
        final=is_whole and all(each.final for each in states),
        planned=sum(each.planned for each in states),
        left=max((each.left for each in running), default=-1.0) if is_whole else -1.0,
        rate=sum(each.rate for each in running),
        waits=tuple(_longest(running)),
    )


def _longest(states: Iterable[RunState]) -> Iterator[Wait]:
    """By registry the wait that lasts longest."""
    waits: dict[str, Wait] = {}
    for wait in (each for state in states for each in state.waits):
        if wait.registry not in waits or wait.until > waits[wait.registry].until:
            waits[wait.registry] = wait
    yield from waits.values()


def read_shards(path: Path, *, now: float) -> ShardsStatus | None:
    """The status of the shards whose records are in a folder, of those that ran last if there are several N.

    Returns:
        None: there are no shards, or a run without --shard has used the folder since.
    """
    found: dict[int, dict[int, Status]] = {}
    unreadable: dict[int, dict[int, str]] = {}
    for shard in _shards(path):
        try:
            found.setdefault(shard.count, {})[shard.index] = read_status(path / shard.folder, now=now)
        except MachineError as error:
            unreadable.setdefault(shard.count, {})[shard.index] = str(error)
    seen = {
        count: max(each.run_state.seen for each in shards.values())
        for count, shards in found.items()
        if shards
    }
    if not seen:
        return None
    last = max(seen, key=lambda count: seen[count])
    try:
        if read_status(path, now=now).run_state.seen > seen[last]:
            return None
    except MachineError:
        pass  # the folder contains only shards
    return ShardsStatus(
        path=path, count=last, found=found[last], unreadable=unreadable.get(last, {}), now=now
    )


def _shards(path: Path) -> Iterator[Shard]:
    try:
        names = sorted(each.name for each in path.iterdir())
    except OSError:  # reading the folder as that of one run reports why
        names = []
    for name in names:
        match = _FOLDER.fullmatch(name)
        if match:
            shard = Shard(index=int(match[1]), count=int(match[2]))
            if shard.index < shard.count and shard.folder == name:
                yield shard


def shard_lines(found: ShardsStatus) -> Iterator[str]:
    """The status for a person: the sum, then each shard that has ended without all of its images."""
    states, total = found.states, found.total
    words = (f"{states[state]} {word}" for state, word in _WORDS.items() if states[state])
    yield f"{format_count(found.count, 'shard')} in {found.path}: {', '.join(words)}"
    yield from result_lines(total)
    shown = [(index, each) for index, each in sorted(found.found.items()) if each.exit_code]
    for index, each in shown[:_SHOWN]:
        yield f"shard {index}/{found.count}: {head(each)}"
        yield from continues(each)
    for index, reason in sorted(found.unreadable.items())[:_SHOWN]:
        yield f"shard {index}/{found.count}: {reason}"
    more = max(0, len(shown) - _SHOWN) + max(0, len(found.unreadable) - _SHOWN)
    if more:
        yield f"{format_count(more, 'shard')} more: see --json"


def shards_object(found: ShardsStatus) -> dict[str, Any]:
    """The status for a program: the sum, as of one run, and each shard."""
    states = {state: found.states[state] for state in _WORDS}
    return as_object(found.total) | {
        "shards": {"total": found.count, **states},
        "parts": [
            {"shard": f"{index}/{found.count}", **as_object(each)}
            for index, each in sorted(found.found.items())
        ],
    }
