"""The verb: reads what a run would read, tries every target, reports, and writes nothing."""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext
from itertools import chain
from typing import TYPE_CHECKING

from pipeline.commands.check.finding import Finding, as_object, exit_code, last_line, width_of
from pipeline.commands.check.registry_check import find_all
from pipeline.commands.check.targets import targets_by_registry
from pipeline.commands.job import prepare
from pipeline.model.units import format_count
from pipeline.observe.choice import choose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from pipeline.commands.check.live import CheckView
    from pipeline.commands.job import Job
    from pipeline.config.rules import RulesFile
    from pipeline.settings import Options


def check(
    options: Options,
    environ: Mapping[str, str],
    *,
    tell: Callable[[str], None],
    show: Callable[[str], None],
) -> int:
    """Check whether a run with these files could start; returns the exit code.

    Args:
        options: the command line.
        environ: the environment.
        tell: prints a line for a person.
        show: prints a line on standard output.

    Raises:
        UsageError, FileError: before any request.
    """
    began = time.monotonic()
    job = prepare(options, environ)
    for warning in job.warnings:
        tell(f"image-syncer: warning: {warning.message}")
    registries = targets_by_registry(job.rules.rules, job.keyring.settings)
    wrong = tuple(_wrong_rules(job.rules))
    places = [finding.place for finding in wrong] + list(registries)
    wanted = [str(each.repository) for targets in registries.values() for each in targets]
    width = width_of(places + wanted)
    if not (options.quiet or options.json):
        many = format_count(len(set(wanted)), "repository", "repositories")
        tell(f"image-syncer: trying {many} of {format_count(len(registries), 'registry', 'registries')}")
    found: list[Finding] = []
    with _view(job, options, environ) as view:
        is_shared = sys.stdout is not None and sys.stdout.isatty()
        say = view.show if view is not None and is_shared else show
        for finding in chain(wrong, find_all(registries, job.settings, job.keyring, view=view)):
            found.append(finding)
            if view is not None:
                view.hear(finding)
            if not options.json and not (options.quiet and finding.state == "ok"):
                say(finding.line(width))
    seconds = time.monotonic() - began
    if options.json:
        warnings = [warning.message for warning in job.warnings]
        show(json.dumps(as_object(found, warnings=warnings, seconds=seconds), ensure_ascii=True))
    elif exit_code(found) or not options.quiet:
        show(last_line(found, seconds=seconds))
    return exit_code(found)


def _view(job: Job, options: Options, environ: Mapping[str, str]) -> AbstractContextManager[CheckView | None]:
    """The live view, if a person looks at a terminal."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    how = choose(options.progress, is_terminal=is_terminal, is_quiet=options.quiet, environ=environ)
    if how != "live":
        return nullcontext()
    from pipeline.commands.check.live import live_view  # noqa: PLC0415 - rich: only a terminal needs it

    rules = format_count(len(job.rules.rules), "rule")
    return live_view(f"check {job.rules.path}".rstrip() + f"  {rules}")


def _wrong_rules(rules: RulesFile) -> Iterator[Finding]:
    """The invalid rules, which fail in a run before any request."""
    for bad in rules.bad:
        yield Finding(
            state="failed",
            what="rule",
            place=bad.place,
            words=f"{bad.text!r}: {bad.reason}",
            advice=bad.hint or "correct the rules file",
            code="RULE_INVALID",
        )
