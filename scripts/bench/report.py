"""The figures of a case, with the goals, for a person and for a program."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING, Any

from scripts.bench.cases import LEAST
from scripts.bench.clients import OURS
from scripts.bench.counting import KINDS, least

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.bench.cases import Case, Goal
    from scripts.bench.counting import State
    from scripts.bench.course import Run

_ROWS = {
    "wall": "wall seconds",
    "cpu": "CPU seconds",
    "memory": "peak MB (PSS), all together",
    "read": "MB read at the source",
    "written": "MB uploaded",
    "requests": "requests",
}


def minimum(case: Case, state: State) -> dict[str, float]:
    """The minimum of the protocol, by kind of request and in total."""
    kinds = least(case.corpus, state, destinations=case.destinations)
    return {"requests": float(sum(kinds.values())), **{kind: float(number) for kind, number in kinds.items()}}


def head(case: Case) -> str:
    """The corpus in a line."""
    corpus = case.corpus
    return (
        f"{case.about}: {corpus.repos} repositories x {corpus.tags} tags x {len(corpus.platforms)} platforms,"
        f" {corpus.manifests} manifests, {corpus.blobs} blobs"
    )


def report(case: Case, runs: Sequence[Run]) -> str:
    """The tables of a case, a column for each client (the median of its runs), and its goals."""
    lines = []
    for state in case.states:
        lines += ["", *_table(case, state, _medians(runs, state))]
    lines += ["", *_memory(runs)]
    for goal in case.goals:
        lines += _judge(case, goal, _medians(runs, goal.state))
    return "\n".join(lines)


def _medians(runs: Sequence[Run], state: State) -> dict[str, dict[str, float]]:
    """By client, each figure's median."""
    clients = dict.fromkeys(run.client for run in runs if run.state == state)
    found = {}
    for client in clients:
        figures = [run.figures for run in runs if (run.client, run.state) == (client, state)]
        found[client] = {
            name: median(each.get(name, 0.0) for each in figures) for name in set().union(*figures)
        }
    return found


def _table(case: Case, state: State, columns: dict[str, dict[str, float]]) -> list[str]:
    lowest = minimum(case, state)
    rows = {**_ROWS, **{kind: f"  {kind}" for kind in KINDS}}
    lines = [f"{state:26}" + "".join(f"{name:>14}" for name in [*columns, LEAST])]
    for name, title in rows.items():
        values = [figures.get(name, 0.0) for figures in columns.values()]
        if any(values):
            floor = _number(lowest[name]) if name in lowest else ""
            lines.append(
                f"{title:26}" + "".join(f"{_number(value):>14}" for value in values) + f"{floor:>14}"
            )
            if name == "requests":
                each = [value / case.corpus.images for value in [*values, lowest[name]]]
                lines.append(f"{'requests an image':26}" + "".join(f"{_number(value):>14}" for value in each))
    return lines


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or value >= 1000 else f"{value:,.2f}"


def _memory(runs: Sequence[Run]) -> list[str]:
    """The peak of each process of image-syncer in the last run of each state."""
    last = {run.state: run for run in runs if run.client == OURS}
    return [
        f"peak MB, {state}: " + ", ".join(f"{role} {peak / 1e6:.0f}" for role, peak in run.cost.peaks)
        for state, run in last.items()
    ]


def _judge(case: Case, goal: Goal, columns: dict[str, dict[str, float]]) -> list[str]:
    """The goal, the result, and whether it is reached; nothing if it cannot be decided."""
    against = minimum(case, goal.state) if goal.against == LEAST else columns.get(goal.against)
    if OURS not in columns or not against or not against.get(goal.figure):
        return []
    reached = columns[OURS].get(goal.figure, 0.0) / against[goal.figure]
    return [judged(f"{goal.state}: {goal.figure} of {goal.against}", reached, goal.at_most)]


def judged(what: str, reached: float, at_most: float) -> str:
    """One line about a goal."""
    verdict = "met" if reached <= at_most * 1.000001 else "NOT MET"
    return f"goal  {what + ':':44} at most {at_most:6.3f}   reached {reached:6.3f}   {verdict}"


def as_json(cases: dict[str, Case], runs: Sequence[Run]) -> dict[str, Any]:
    """The figures of every run for a program."""
    return {
        "cases": {
            name: {
                "corpus": asdict(case.corpus),
                "images": case.corpus.images,
                "least": {state: minimum(case, state) for state in case.states},
            }
            for name, case in cases.items()
        },
        "runs": [
            {
                "case": run.case,
                "client": run.client,
                "state": run.state,
                **asdict(run.cost),
                "source": dict(run.source),
                "destination": dict(run.destination),
                "figures": run.figures,
            }
            for run in runs
        ],
    }
