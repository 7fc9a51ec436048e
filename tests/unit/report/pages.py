"""A report of a made-up run, with hostile text wherever a registry or a file provides it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.log import Event
from pipeline.observe.history import RunHistory
from pipeline.report.causes import from_row, group
from pipeline.report.page import RuleCounts, count_rules, page
from tests.unit.report.test_causes import DENIED, ROW
from tests.unit.report.test_summary import SUMMARY
from tests.unit.views import HARBOR, QUAY, moving, view

if TYPE_CHECKING:
    from pipeline.log import Value
    from pipeline.report.summary import Summary

EVIL = "</script><script>alert('x')</script><img src=x onerror=f(1)>\" onload='x' {{ 7*7 }}\x1b[m\x00\u202e&"


def summary() -> Summary:
    """A summary with hostile text everywhere."""
    rows = [replace(ROW, source=EVIL, destination=EVIL, fault=EVIL, registry=EVIL, code=EVIL)]
    rows += [DENIED, *(replace(ROW, source=f"quay.io/team/api:v{number}") for number in range(40))]
    causes = group(map(from_row, [*rows, replace(DENIED, registry="q", hint=EVIL)]))
    return replace(SUMMARY, causes=causes, notes=(EVIL,), again=("image-syncer", EVIL), run=EVIL)


def history() -> RunHistory:
    """Four minutes with a pause, and hostile text everywhere."""
    made = RunHistory()
    for tick in range(1, 1_000):
        seconds = tick / 4
        cooling = replace(QUAY, name=EVIL, pause=float(seconds % 60 > 45), read=tick * 150_000)
        written = replace(HARBOR, written=tick * 150_000 if tick < 600 else 600 * 150_000, unavailable=EVIL)
        made.tick(
            view(
                seconds,
                registries=(cooling, written),
                copied=tick // 12,
                unchanged=tick // 40,
                failed=tick // 300,
                transfers=(replace(moving(tick % 30), destination=EVIL),),
            )
        )
    made.hear(Event(name="config.warning", message=EVIL, level="warning"))
    made.hear(Event(name="image.rewritten", message=EVIL, level="warning"))
    made.hear(Event(name="image.retry", message=EVIL, level="warning"))
    fields: dict[str, Value] = {"source": EVIL, "destination": EVIL, "duration": 62.3, "bytes": 5}
    made.hear(Event(name="image.done", message="", fields=fields))
    return made


def report() -> str:
    """The page."""
    rules = {number: RuleCounts(str(number + 1), f"quay.io/team/app{number}") for number in range(400)}
    rules[399] = RuleCounts("400", EVIL, failed_whole=True)
    count_rules(
        rules, [replace(ROW, rule=7), replace(ROW, rule=7, result="copied"), replace(ROW, rule=9_999)]
    )
    pieces = page(
        replace(summary(), history=history()),
        rules=list(rules.values()),
        settings=[("command", EVIL)],
        ended="2026-11-24 14:30:34+01:00",
    )
    return "".join(pieces)
