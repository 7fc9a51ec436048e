"""The live view of a check: what it shows of registries that are done, slow or silent."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest

from pipeline.commands.check.finding import Finding
from pipeline.commands.check.live import CheckView
from pipeline.observe.live_rows import LiveRows
from tests.unit.observe.screen import Screen


@dataclass(frozen=True)
class Registry:
    """One registry of a check."""

    name: str
    total: int
    done: int
    probed: bool = True


CHECKS = (
    Registry("quay.io", 40, 40),
    Registry("harbor.corp:5000", 200, 60),
    Registry("silent.example", 4, 0, probed=False),
)


def view_rows(columns: int, *checks: Registry) -> list[str]:
    """The rows ten seconds after the start, with two failures and a warning."""
    reader, writer = os.pipe()
    now = [0.0]
    rows = LiveRows(writer, size=lambda _: (columns, 24))
    view = CheckView(rows, title="check images.yaml", clock=lambda: now[0])
    now[0] = 10.0
    for state in ("failed", "failed", "warning", "ok"):
        view.hear(Finding(state=state, what="source", place="x", words="y"))
    view.tick(checks)
    screen = Screen(columns)
    screen.write(os.read(reader, 1 << 16))
    os.close(reader)
    os.close(writer)
    return screen.text


def test_view_lists_unfinished_registries() -> None:
    """The view has the time left, the rate, what was found, and each registry that is not done."""
    rows = view_rows(100, *CHECKS)

    assert rows[0].endswith("10s elapsed, about 14s left")
    assert rows[1].endswith("100/244 40 %  10/s  1 warning  2 FAILED")
    assert rows[2:] == [
        "harbor.corp:5000  60 of 200 repositories",
        "silent.example    no answer yet",
        "Ctrl-C: stop.  Nothing is changed.",
    ]


@pytest.mark.parametrize("columns", [30, 40, 60])
def test_narrow_terminal_drops_whole_parts(columns: int) -> None:
    """What a narrow terminal has no room for is left out whole, failures last."""
    rows = view_rows(columns, *CHECKS)

    assert all(len(row) < columns for row in rows)
    assert rows[1].split()[-1] in ("FAILED", "%")


def test_surplus_registries_are_counted() -> None:
    """Of many registries with work left the first ones are named, and the others counted."""
    rows = view_rows(80, *(Registry(f"r{number}.io", 1, 0, probed=False) for number in range(9)))

    assert rows[0].endswith("time left unknown")
    assert rows[-2] == "... and 5 more registries"
