"""What a run leaves for the next one: lists of images, and the command that resumes.

The same command copies what is missing, and only that. With the list of failures it does not check the other
images again; so that list names all that is missing: failed and unfinished images, images without their
companions, rules not fully expanded.
"""

from __future__ import annotations

import json
import signal
from collections import deque
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from pipeline.commands.job import own_failed_file
from pipeline.dataclass import dataclass
from pipeline.errors import MachineError
from pipeline.model.companions import is_shared
from pipeline.model.reference import parse_reference
from pipeline.model.remedies import CONFLICT
from pipeline.model.rule_options import plain_options
from pipeline.model.selection import with_digest
from pipeline.model.units import format_count
from pipeline.outputs.image_lists import ListEntry, format_of, write_failed, write_success
from pipeline.report.summary import companions_missing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from pipeline.commands.finish import FinishedRun
    from pipeline.commands.job import Job
    from pipeline.model.facts import ImageRow, Result
    from pipeline.model.figures import Figures
    from pipeline.model.selection import Rule, Target

_ARRIVED: tuple[Result, ...] = ("copied", "unchanged")
_SHOWN = 8
"""Maximum rules in one line."""
_REPLACED = frozenset({"--images", "--to", "--output-failed-images", "--output-success-images"})
"""Flags with a value that the retry command omits, so that it does not overwrite the lists of this run."""
_OF_A_SHARD = frozenset({"--shard", "--shard-by", "--shard-parallelism", "--records"})
"""Likewise for a shard: its list of failures is not split again. Without the rules that feed them, images in
it would seem to belong to other shards."""


_OF_A_RULE = dict.fromkeys(("to", "tags", "repositories"))
"""Options that an image does not need any more, since it has its tag and its destination.

`keep` and `min_age` stay: it may have failed before the destination and its own age were known.
"""


@dataclass(slots=True)
class Leftovers:
    """What was written; the counts are complete once the list of failures is."""

    run: FinishedRun
    failed: str = ""
    """The list of failures, if --images may name it; empty if there is none."""
    beaten: int = 0
    """Failed images in no list: alone they would overwrite the tag that an earlier rule has written."""
    complete: bool = True
    """Whether all requested lists could be written."""

    @property
    def any_to_retry(self) -> bool:
        """Whether a retry may copy something."""
        figures = self.run.scheduler.figures
        return figures.failures > self.beaten or figures.rules_failed > 0 or figures.companions_missing > 0

    @property
    def remark(self) -> str:
        """What the list of failures lacks, in words; empty if nothing."""
        images = format_count(self.beaten, "image")
        reason = "an earlier rule writes the same destination tag"
        return f"{images} skipped: {reason}; not in the retry list" if self.beaten else ""

    def rows(self) -> Iterator[ImageRow]:
        """The images to retry: failed ones, and those without their companions; counts the beaten ones."""
        run = self.run
        rules = {rule.number: rule for rule in run.job.rules.rules}
        without = _ARRIVED if run.scheduler.figures.companions_missing else ()
        for row in run.records.images(run=run.name, results={"failed", *without}):
            if row.result != "failed" and not row.companions_owed:
                continue
            claim = run.records.claim(row.destination)
            beaten = (
                row.result == "failed"
                and claim is not None
                and claim.run == run.name
                and (claim.source != row.source or _filter(run, rules[claim.rule]) != row.filter)
            )
            if beaten and (row.code == CONFLICT or not is_shared(parse_reference(row.destination))):
                self.beaten += 1
            else:
                yield replace(row, destination=_as_required(rules[row.rule], row.destination))


def write_files(run: FinishedRun) -> Leftovers:
    """Write the lists of successes and failures; if one cannot be written, the other still is."""
    left = Leftovers(run)
    for write in (_write_success, _write_failed):
        try:
            write(run, left)
        except MachineError as error:
            run.say.error(error)
            left.beaten, left.complete = 0, False
    return left


def _write_success(run: FinishedRun, _: Leftovers) -> None:
    if run.options.success_file is not None:
        rows = run.records.images(run=run.name, results={"copied", "unchanged", "kept"})
        remark = _companions(run.scheduler.figures)
        write_success(run.options.success_file, rows, fmt=run.options.success_format, remark=remark)


def _companions(figures: Figures) -> str:
    """The companions of the images, in words; empty if none."""
    stored = format_count(figures.companions, "companion")
    parts = [f"{stored} (signatures, SBOMs) stored with them"] * bool(figures.companions)
    return ", ".join(parts + companions_missing(figures))


def _write_failed(run: FinishedRun, left: Leftovers) -> None:
    path = _failed_path(run)
    if path is None:
        deque(left.rows(), maxlen=0)
        return
    known, without = options_of_images(run.job), _options_of_owing(run.job)
    begun = (ListEntry(source, (to,), known.get(rule, "")) for source, to, rule in run.scheduler.unfinished)
    write_failed(
        path,
        left.rows(),
        chain(begun, _lost(run)),
        fmt=format_of(path),
        remark=lambda: left.remark,
        options=lambda row: known.get(row.rule, "") if row.result == "failed" else without[row.rule],
    )
    left.failed = str(path) if run.job.files.images else ""


def _failed_path(run: FinishedRun) -> Path | None:
    """The path of the list of failures; None: do not write it."""
    if run.options.failed_file is not None or not run.job.files.images:
        return run.options.failed_file
    own, figures = own_failed_file(run.options), run.scheduler.figures
    failed = figures.failed or figures.rules_failed or figures.companions_missing or run.is_stopped
    return own if failed or own.exists() else None


def _lost(run: FinishedRun) -> Iterator[ListEntry]:
    """Rules with images that the run may not know, as written, in file order."""
    scheduler, rules = run.scheduler, run.job.rules
    lost = [rule for rule, _ in scheduler.failed_rules]
    lost += scheduler.unexpanded if not scheduler.finished else ()
    for bad in rules.bad:
        yield ListEntry(bad.text, bad.destinations, _json(bad.said))
    for rule in sorted(lost, key=lambda rule: rule.number):
        yield ListEntry(rule.text, destinations_of(rule), options_of_rule(rule))


def options_of_rule(rule: Rule) -> str:
    """A rule's options besides its destinations, as a list of images writes them."""
    options = replace(rule.options, to=None)
    return _json(plain_options(replace(options, repositories=None) if rule.is_child else options))


def options_of_images(job: Job) -> dict[int, str]:
    """By rule, the options that its images need besides their destinations, unless the flags say the same."""
    return {
        rule.number: _json(plain_options(replace(rule.options, **_OF_A_RULE)))
        for rule in job.rules.rules
        if job.options.under(rule.options) != job.options
    }


def _options_of_owing(job: Job) -> dict[int, str]:
    """The same for images that are at their destination without their companions: these are looked for."""
    found = {}
    for rule in job.rules.rules:
        always = replace(job.options.under(rule.options).referrers, when="always")
        options = replace(rule.options, **_OF_A_RULE, referrers=always)
        found[rule.number] = _json(plain_options(options))
    return found


def _json(options: dict[str, Any]) -> str:
    return json.dumps(options) if options else ""


def destinations_of(rule: Rule) -> tuple[str, ...]:
    """The destinations of a rule as a rules file writes them."""
    return tuple(_target(target) for target in rule.targets) or rule.written


def _target(target: Target) -> str:
    names = target.tag or ",".join(target.names or ())
    return f"{target.repository}:{names}" if names else str(target.repository)


def _filter(run: FinishedRun, rule: Rule) -> str:
    """The text of the filter that a rule's images had."""
    return str(run.job.options.under(rule.options).pruning)


def _as_required(rule: Rule, destination: str) -> str:
    """A row's destination with the digest that its rule requires, so that the next run requires it too."""
    reference = parse_reference(destination)
    return with_digest(reference, rule.required_digest(reference))


def command_again(run: FinishedRun, left: Leftovers) -> tuple[str, ...]:
    """The command that copies what is missing, word by word."""
    given = run.options.arguments
    if left.failed and not run.is_stopped:
        is_shard = run.options.shard is not None
        replaced = _REPLACED | (_OF_A_SHARD if is_shard else frozenset())
        records = ("--records", str(run.options.records)) if is_shard else ()
        given = _with_flags(given, (*records, "--images", left.failed), replaced=replaced)
    return ("image-syncer", *given)


def _with_flags(given: Sequence[str], flags: Sequence[str], *, replaced: Collection[str]) -> tuple[str, ...]:
    """The command line with some flags replaced by others."""
    kept: list[str] = []
    words = iter(given)
    for word in words:
        name, equals, _ = word.partition("=")
        if name not in replaced:
            kept.append(word)
        elif not equals:
            next(words, None)
    end = kept.index("--") if "--" in kept else len(kept)
    return (*kept[:end], *flags, *kept[end:])


def what_is_left(run: FinishedRun) -> str:
    """What stopped the run, and what is missing."""
    rules = run.scheduler.unexpanded
    named = ", ".join(f"{rule.text} ({rule.place})" for rule in rules[:_SHOWN])
    more = f" and {len(rules) - _SHOWN} more" if len(rules) > _SHOWN else ""
    by = signal.Signals(run.ending.signal).name if run.ending.signal else "this machine"
    images = f"{format_count(run.scheduler.figures.unfinished, 'image')} not finished"
    left = f"{images}, {format_count(len(rules), 'rule')} not fully expanded"
    return f"stopped by {by}: {left}" + (f": {named}{more}" if named else "")
