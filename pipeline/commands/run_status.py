"""The progress or the end of the last run, read from its records alone.

Images are counted from their rows, which are on disk before the log reports them; everything else is the run
state, which the run wrote at most two seconds before it was killed.
"""

from __future__ import annotations

import datetime as dt
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pipeline.dataclass import dataclass
from pipeline.errors import MachineError
from pipeline.model.units import format_count, format_duration
from pipeline.observe.run_state import RUNNING, current_folder, run_state_of
from pipeline.process import is_gone
from pipeline.records.reader import read_records
from pipeline.report.causes import from_row, group
from pipeline.report.summary import (
    Summary,
    cause_lines,
    cause_object,
    continuation,
    cost,
    traffic_object,
    verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.model.facts import Result
    from pipeline.model.figures import Figures
    from pipeline.observe.run_state import RunState
    from pipeline.records.reader import RecordsReader
    from pipeline.report.causes import CauseGroup

StatusState = Literal["running", "stopping", "done", "failed", "stopped", "lost"]
"""lost: it is not running and did not store an exit code."""
SCHEMA = 1
"""Version of the JSON object: fields may be added, and none changes its meaning."""
_SILENT = 30.0
"""Seconds without an update that mean trouble; a process on another machine then counts as lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The last run."""

    state: StatusState
    run_state: RunState
    counts: dict[Result, int]
    causes: tuple[CauseGroup, ...]
    now: float

    @property
    def figures(self) -> Figures:
        """The run's figures, with images counted from their rows; an image to be retried has none."""
        known = max(self.run_state.figures.known, sum(self.counts.values()))
        figures = replace(self.run_state.figures, known=known, to_retry=0)
        for result, count in self.counts.items():
            setattr(figures, result, count)
        return figures

    @property
    def left(self) -> int:
        """Images that are known and not finished."""
        return self.figures.unfinished

    @property
    def is_final(self) -> bool:
        """Whether all images are known."""
        return self.run_state.final and not self.run_state.planned

    @property
    def go_on(self) -> tuple[str, ...]:
        """The command that copies what is missing, word by word; empty: nothing to do."""
        if self.state in ("running", "stopping", "done"):
            return ()
        return self.run_state.again or self.run_state.command

    @property
    def exit_code(self) -> int:
        """0: it is running, or all images are at their destination; 1: it ended otherwise."""
        return 0 if self.state in ("running", "stopping", "done") else 1


def read_status(path: Path, *, now: float) -> Status:
    """The status of the last run in the records.

    Raises:
        MachineError: there are no records, or none that can be read.
    """
    return read_records(path, lambda view: _status(view, path, now))


def _status(view: RecordsReader, path: Path, now: float) -> Status:
    text = view.run_state
    if not text:
        raise MachineError(f"records in {path} have no run state: an older version wrote them")
    run_state = run_state_of(text)
    if run_state is None:
        raise MachineError(f"records in {path} are damaged: the run state cannot be read")
    failures = (from_row(row) for row in view.images(run_state.run, "failed"))
    return Status(
        state=_state(run_state, now),
        run_state=run_state,
        counts=view.counts(run_state.run),
        causes=group((*run_state.lost, *failures)),
        now=now,
    )


def _state(run_state: RunState, now: float) -> StatusState:
    code = run_state.exit_code
    if code == RUNNING:
        gone = is_gone(run_state.process)
        if gone or (gone is None and now - run_state.seen > _SILENT):
            return "lost"
        return "stopping" if run_state.stopping else "running"
    if code in (0, 1):
        return "failed" if code else "done"
    return "stopped"


def lines(found: Status) -> Iterator[str]:
    """The status for a person."""
    yield head(found)
    yield from result_lines(found)
    yield from continues(found)


def result_lines(found: Status) -> Iterator[str]:
    """What was done, what is left, and what failed."""
    summary = _summary(found)
    yield verdict(summary)
    yield f"  {cost(summary)}"
    yield from (f"  {line}" for line in _left(found))
    yield from cause_lines(found.causes)


def continues(found: Status) -> Iterator[str]:
    """The command that does what is missing, if anything is."""
    run_state = found.run_state
    command = shlex.join(found.go_on)
    if command and run_state.folder and run_state.folder != current_folder():
        command = f"cd {shlex.quote(run_state.folder)} && {command}"
    if command:
        yield continuation(command, is_stopped=found.state != "failed")


def head(found: Status) -> str:
    """Whether the run continues, or how it ended."""
    run_state, state = found.run_state, found.state
    process = f"process {run_state.process.pid} on {run_state.process.host}"
    ended = f"at {_clock(run_state.seen)}, exit code {run_state.exit_code}"
    words = {
        "running": f"is running: {process}, since {_clock(run_state.began)}",
        "stopping": f"is stopping, current transfers are finishing: {process}",
        "done": f"ended {ended}: all images are at their destination",
        "failed": f"ended {ended}: some images are not at their destination",
        "stopped": f"was stopped {ended}: work is left",
        "lost": f"was killed or its machine failed: last seen {_clock(run_state.seen)}, {process}",
    }
    return f"run {run_state.run} {words[state]}"


def _left(found: Status) -> Iterator[str]:
    """What is missing, and what the run waits for."""
    run_state = found.run_state
    if run_state.trouble:
        yield f"stopped by a problem of this machine: {run_state.trouble}"
    if found.exit_code == 0 and run_state.exit_code == RUNNING and found.now - run_state.seen > _SILENT:
        silence = format_duration(round(found.now - run_state.seen))
        yield f"no update for {silence}: the run is suspended, or its disk hangs"
    if found.left or not found.is_final:
        more = "" if found.is_final else ", more when all rules are expanded"
        yield f"left: {format_count(found.left, 'image')}{more}{_eta(found)}"
    to_retry = run_state.figures.to_retry
    if to_retry and found.exit_code == 0:
        yield f"to retry at the end of the run: {format_count(to_retry, 'image')}"
    for wait in run_state.waits if found.exit_code == 0 else ():
        why = f" ({wait.why})" if wait.why else ""
        if not wait.until:
            yield f"unavailable: {wait.registry}{why}"
        elif wait.until > found.now:
            pause, tasks = format_duration(round(wait.until - found.now)), format_count(wait.tasks, "task")
            yield f"rate limited: {wait.registry}{why}, next try in {pause}; {tasks} waiting"


def _eta(found: Status) -> str:
    seconds = found.run_state.left - (found.now - found.run_state.seen)
    if found.state != "running" or found.run_state.left < 0:
        return ""
    return f", about {format_duration(round(max(1.0, seconds)))} at the current rate"


def _summary(found: Status) -> Summary:
    """In the words of the run's own summary."""
    run_state = found.run_state
    runs = found.state in ("running", "stopping")
    return Summary(
        run=run_state.run,
        version=run_state.version,
        exit_code=found.exit_code,
        figures=found.figures,
        seconds=run_state.seconds + (found.now - run_state.seen if runs else 0.0),
        causes=found.causes,
    )


def as_object(found: Status) -> dict[str, Any]:
    """The status for a program: sizes in bytes, durations in seconds."""
    run_state, figures = found.run_state, found.run_state.figures
    ended = run_state.exit_code != RUNNING
    return {
        "schema": SCHEMA,
        "state": found.state,
        "run": run_state.run,
        "version": run_state.version,
        "exit_code": run_state.exit_code if ended else None,
        "process": {"host": run_state.process.host, "pid": run_state.process.pid},
        "began": _stamp(run_state.began),
        "seen": _stamp(run_state.seen),
        "seconds": round(run_state.seconds, 3),
        "images": {
            "total": figures.known,
            "final": found.is_final,
            **found.counts,
            "to_retry": figures.to_retry,
            "left": found.left,
        },
        "optional_failures": figures.optional,
        "rules": {"total": figures.rules, "failed": figures.rules_failed},
        **traffic_object(figures),
        "requests": figures.requests,
        "rate": round(run_state.rate),
        "eta": round(run_state.left) if run_state.left >= 0 and found.exit_code == 0 else None,
        "waits": [
            {
                "registry": wait.registry,
                "seconds": round(max(0.0, wait.until - found.now), 1) if wait.until else None,
                "reason": wait.why,
                "tasks": wait.tasks,
            }
            for wait in run_state.waits
        ],
        "failures": [cause_object(cause) for cause in found.causes],
        "trouble": run_state.trouble,
        "go_on": list(found.go_on),
        "folder": run_state.folder,
    }


def _stamp(when: float) -> str:
    return dt.datetime.fromtimestamp(when, dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _clock(when: float) -> str:
    return dt.datetime.fromtimestamp(when).astimezone().strftime("%Y-%m-%d %H:%M:%S")
