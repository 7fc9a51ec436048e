"""The observer that writes the run state to the records, for `status` in another terminal."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from pipeline import __version__
from pipeline.observe.run_state import RunState, Wait, current_folder
from pipeline.process import this_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pipeline.log import Event
    from pipeline.model.figures import Figures
    from pipeline.observe.history import RunHistory
    from pipeline.report.causes import Failure
    from pipeline.report.summary import Summary
    from pipeline.scheduler.view import RunView

EVERY = 2.0
"""Seconds between two writes: one row, in a transaction that is written anyway."""
_MOST = 40
"""Registries and rules that a row names, at most."""


class RunStateRecorder:
    """Writes the run state at the start, every other second, and at the end.

    Args:
        history: what is known of the run.
        keep: stores a fact.
        run: the run's name.
        command: the command line, word by word.
        figures: the run's, for the first row.
        lost: the rules that have failed as a whole so far.
    """

    def __init__(
        self,
        history: RunHistory,
        keep: Callable[[RunState], None],
        *,
        run: str,
        command: tuple[str, ...],
        figures: Figures,
        lost: Callable[[], Iterable[Failure]],
    ) -> None:
        """See the class."""
        self._keep = keep
        self._lost = lost
        self._history = history
        self._written = 0.0
        self._why: dict[str, str] = {}
        """By registry: the reason of its last pause."""
        now = time.time()
        self._run_state = RunState(
            run=run,
            version=__version__,
            process=this_process(),
            command=command,
            folder=current_folder(),
            began=now,
            seen=now,
            figures=figures,
        )
        keep(self._run_state)

    def hear(self, event: Event) -> None:
        """Keep the reason of a pause."""
        if event.name == "registry.cooldown":
            parts = (event.fields.get("status"), event.fields.get("code"))
            self._why[str(event.fields.get("registry"))] = " ".join(str(part) for part in parts if part)

    def tick(self, view: RunView) -> None:
        """Write the run state if it is time."""
        if view.seconds - self._written >= EVERY:
            self._written = view.seconds
            self._look(view)
            self._keep(self._run_state)

    def end(self, summary: Summary, *, trouble: str) -> None:
        """Write how it ended."""
        if self._history.view is not None:
            self._look(self._history.view)
        self._run_state = replace(
            self._run_state,
            seen=time.time(),
            seconds=summary.seconds,
            exit_code=summary.exit_code,
            trouble=trouble,
            figures=summary.figures,
            left=-1.0,
            rate=0.0,
            again=summary.again,
            waits=(),
        )
        self._keep(self._run_state)

    def _look(self, view: RunView) -> None:
        now = time.time()
        left = self._history.left
        self._run_state = replace(
            self._run_state,
            seen=now,
            seconds=view.seconds,
            stopping=self._history.stopping,
            figures=self._history.figures,
            final=view.expanded,
            planned=view.planned,
            left=-1.0 if left is None else left,
            rate=self._history.rate,
            waits=tuple(islice(self._waits(view, now), _MOST)),
            lost=tuple(islice(self._lost(), _MOST)),
        )

    def _waits(self, view: RunView, now: float) -> Iterator[Wait]:
        for each in view.registries:
            if each.unavailable:
                yield Wait(registry=each.name, until=0.0, why=each.unavailable, tasks=each.waiting)
            elif each.pause > 0:
                why = self._why.get(each.name, "")
                yield Wait(registry=each.name, until=now + each.pause, why=why, tasks=each.waiting)
