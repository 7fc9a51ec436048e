"""What a run leaves for the next one: files of what is there and what is not, and the command that goes on.

The command alone is enough: it does what is left, and only that. The file of failures spares it the rest, so
it names everything that is left: images that failed or were begun, rules that were not expanded to their end.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from pipeline.commands.job import own_failed_file
from pipeline.errors import MachineError
from pipeline.model.companions import is_shared
from pipeline.model.reference import parse_reference
from pipeline.model.selection import with_digest
from pipeline.model.units import format_count
from pipeline.outputs.image_lists import format_of, write_failed, write_success
from pipeline.report.causes import CONFLICT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pipeline.commands.finished_run import FinishedRun
    from pipeline.model.facts import ImageRow
    from pipeline.model.selection import Rule, Target

_SHOWN = 8
"""Rules that a line names."""
_REPLACED = frozenset({"--images", "--output-failed-images", "--output-success-images"})
"""Flags, each with a value, that trying again is not to repeat: the lists of this run stay as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftovers:
    """What was written."""

    failed: str = ""
    """The file of failures, where --images may name it; empty: there is none."""
    beaten: int = 0
    """Failed images that no file names: a rule that stands first gives their destination another source."""
    complete: bool = True
    """Whether everything that was asked for could be written."""


@dataclass(slots=True)
class _Rows:
    """The failed images that may be tried by themselves: the others would win without what beat them."""

    run: FinishedRun
    beaten: int = 0

    def __iter__(self) -> Iterator[ImageRow]:
        run = self.run
        rules = {rule.number: rule for rule in run.job.rules.rules}
        for row in run.records.images(run=run.name, results={"failed"}):
            claim = run.records.claim(row.destination)
            beaten = claim is not None and claim.run == run.name and claim.source != row.source
            if beaten and (row.code == CONFLICT or not is_shared(parse_reference(row.destination))):
                self.beaten += 1
            else:
                yield replace(row, destination=_as_required(rules[row.rule], row.destination))

    def count(self) -> int:
        """How many were beaten, where nothing is written."""
        for _ in self:
            pass
        return self.beaten

    def remark(self) -> str:
        """What is left out, for people."""
        images = format_count(self.beaten, "image")
        return (
            f"left out: {images} that lost the destination tag to a rule that stands first"
            if self.beaten
            else ""
        )


def write_files(run: FinishedRun) -> Leftovers:
    """Write the files of successes and failures; one that cannot be written is said, the other goes on."""
    success = _write_success(run)
    path, rows = _failed_path(run), _Rows(run)
    try:
        if path is None:
            return Leftovers(beaten=rows.count(), complete=success)
        more = chain(run.scheduler.unfinished, _lost(run))
        write_failed(path, rows, more, fmt=format_of(path), remark=rows.remark)
    except MachineError as error:
        run.say.tell(f"image-syncer: error: {error}")
        return Leftovers(complete=False)
    failed = str(path) if run.job.has_rules_file else ""
    return Leftovers(failed=failed, beaten=rows.beaten, complete=success)


def _write_success(run: FinishedRun) -> bool:
    options = run.options
    if options.success_file is None:
        return True
    try:
        rows = run.records.images(run=run.name, results={"copied", "unchanged"})
        write_success(options.success_file, rows, fmt=options.success_format)
    except MachineError as error:
        run.say.tell(f"image-syncer: error: {error}")
        return False
    return True


def _failed_path(run: FinishedRun) -> Path | None:
    """Where the failures are to be written; None: nowhere."""
    if run.options.failed_file is not None or not run.job.has_rules_file:
        return run.options.failed_file
    own, figures = own_failed_file(run.options), run.scheduler.figures
    failed = figures.failed or figures.rules_failed or not run.scheduler.finished
    return own if failed or own.exists() else None


def _lost(run: FinishedRun) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Rules of which some images may never have been named: as written, in file order."""
    scheduler, rules = run.scheduler, run.job.rules
    lost = {*scheduler.failed_rules, *(scheduler.unexpanded if not scheduler.finished else ())}
    yield from ((rule.text, rule.destinations) for rule in rules.bad)
    yield from ((rule.text, destinations_of(rule)) for rule in rules.rules if rule.number in lost)


def destinations_of(rule: Rule) -> tuple[str, ...]:
    """The destinations of a rule as a rules file has them."""
    return tuple(_target(target) for target in rule.targets)


def _target(target: Target) -> str:
    return str(target.repository) + (":" + ",".join(target.names) if target.names else "")


def _as_required(rule: Rule, destination: str) -> str:
    """A destination of a row with the digest that its rule requires there: the next run requires it too."""
    reference = parse_reference(destination)
    return with_digest(reference, rule.required_digest(reference))


def command_again(run: FinishedRun, left: Leftovers) -> tuple[str, ...]:
    """The command line that does what is left, word by word."""
    given = run.options.arguments
    if left.failed and run.scheduler.finished:
        given = _with_rules(given, left.failed)
    return ("image-syncer", *given)


def _with_rules(given: Sequence[str], path: str) -> tuple[str, ...]:
    """The words with another rules file."""
    kept: list[str] = []
    words = iter(given)
    for word in words:
        name, equals, _ = word.partition("=")
        if name not in _REPLACED:
            kept.append(word)
        elif not equals:
            next(words, None)
    end = kept.index("--") if "--" in kept else len(kept)
    return (*kept[:end], "--images", path, *kept[end:])


def what_is_left(run: FinishedRun) -> str:
    """How a run was stopped before its end, and what it leaves."""
    lost = set(run.scheduler.unexpanded)
    rules = [rule for rule in run.job.rules.rules if rule.number in lost]
    named = ", ".join(f"{rule.text} ({rule.place})" for rule in rules[:_SHOWN])
    more = f" and {len(rules) - _SHOWN} more" if len(rules) > _SHOWN else ""
    by = signal.Signals(run.ending.signal).name if run.ending.signal else "this machine"
    images = f"{format_count(run.scheduler.figures.unfinished, 'image')} begun and not finished"
    left = f"{images}, {format_count(len(rules), 'rule')} not fully expanded"
    return f"stopped by {by}: {left}" + (f": {named}{more}" if named else "")
