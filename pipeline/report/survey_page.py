"""The page of a plan or a verification, with one row per image: a record to hand over.

Like page.py it is self-contained, without scripts and external links. It is made piece by piece: rows are
never held in memory.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from pipeline.model.units import format_count, format_duration
from pipeline.report.page import make_environment
from pipeline.report.survey_result import RESULTS, cost_lines, verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.model.facts import ImageRow
    from pipeline.report.survey_result import SurveyResult

_TEMPLATE = "survey.html.jinja"


def survey_page(found: SurveyResult, rows: Iterable[ImageRow], *, command: Iterable[str]) -> Iterator[str]:
    """The page, piece by piece.

    Args:
        found: what was found.
        rows: all images, in order of source, then destination.
        command: the command line that was given.
    """
    return (
        make_environment()
        .get_template(_TEMPLATE)
        .generate(
            found=found,
            summary=found.summary,
            verdict=verdict(found),
            figures=list(cost_lines(found)),
            kinds={each.name: sorted(each.asked.items()) for each in found.registries},
            rows=rows,
            results=RESULTS[found.aim],
            command=shlex.join(("image-syncer", *command)),
            count=format_count,
            lasts=format_duration,
        )
    )
