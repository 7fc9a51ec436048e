"""One run: reads the files, opens the records, lets the supervisor run Flow, writes what is to be left.

Whatever can be wrong with flags and files is found before any request.
"""

from __future__ import annotations

import secrets
import time
import traceback
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.config.credentials import Keyring, read_credentials
from pipeline.config.files import choose_files
from pipeline.config.legacy import read_legacy
from pipeline.config.rules import BadRule, RulesFile, make_defaults, read_rules, rule_from_words
from pipeline.engine.supervisor import Ending, Supervisor
from pipeline.errors import MachineError, RuleError, UsageError
from pipeline.log import Event, Log, open_log
from pipeline.model.flow.ledger import Flow
from pipeline.model.platform import Filter, parse_filter
from pipeline.records import Records
from pipeline.report import (
    Summary,
    check_writable,
    format_of,
    summary_lines,
    write_failed,
    write_success,
)
from pipeline.settings import Limits, Options, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.model.selection import Rule, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a run is about: all that was read before it begins."""

    keyring: Keyring
    rules: RulesFile
    platforms: Filter
    settings: Settings
    warnings: tuple[Event, ...]


def prepare(options: Options, environ: Mapping[str, str]) -> Job:
    """Read and check everything that the user wrote.

    Raises:
        UsageError, FileError: something is wrong; nothing has been asked or written.
    """
    platforms = parse_filter(options.os, options.arch)
    for path in (options.success_file, options.failed_file):
        if path is not None:
            check_writable(path)
    if options.failed_file is not None:
        format_of(options.failed_file)
    settings = Settings(
        records=options.records,
        os=options.os,
        arch=options.arch,
        force=options.force,
        retries=options.retries,
        patience=options.patience,
        drain=options.drain,
        limits=Limits(proc=options.proc),
    )
    keyring, rules, warnings = _read_files(options, environ)
    return Job(keyring=keyring, rules=rules, platforms=platforms, settings=settings, warnings=warnings)


def _read_files(options: Options, environ: Mapping[str, str]) -> tuple[Keyring, RulesFile, tuple[Event, ...]]:
    """Credentials, rules, and what there is to warn of."""
    defaults = make_defaults(options.registry, options.namespace)
    files = choose_files(
        auth=options.auth,
        images=options.images,
        config=options.config,
        rules_needed=options.verb == "sync",
    )
    if files.config is not None:
        keyring, rules, more = read_legacy(files.config, defaults=defaults, environ=environ)
    else:
        keyring, more = read_credentials(files.auth, environ=environ)
        rules = RulesFile(path="", rules=(), bad=())
    warnings = (*files.warnings, *more)
    if options.verb == "copy":
        source, *destinations = options.words
        try:
            rule = rule_from_words(source, destinations, defaults=defaults, environ=environ)
        except RuleError as error:
            raise UsageError(f"copy {' '.join(options.words)}: {error}") from error
        rules = RulesFile(path="", rules=(rule,), bad=())
    elif files.images is not None:
        rules = read_rules(files.images, defaults=defaults, environ=environ)
        warnings += rules.warnings
    return keyring, rules, warnings


def sync(options: Options, environ: Mapping[str, str], *, tell: Callable[[str], None]) -> int:
    """Run to the end; returns the exit code.

    Args:
        options: the command line.
        environ: the environment.
        tell: prints a line for a person.

    Raises:
        UsageError, FileError: before anything was asked.
        MachineError: the records cannot be had, or workers cannot be started.
    """
    job = prepare(options, environ)
    run = secrets.token_hex(4)
    with closing(open_log(options.log, level=options.log_level, run=run)) as log:
        try:
            return _run(job, options, log=log, run=run, tell=tell)
        except MachineError:
            raise
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            log.write(Event(name="run.broken", message=trace, level="error"))
            raise MachineError(
                f"a defect of image-syncer ended the run: {type(error).__name__}: {error};"
                " please report it with the traceback from the log. Repeat the command to go on"
            ) from error


def _run(job: Job, options: Options, *, log: Log, run: str, tell: Callable[[str], None]) -> int:
    began = time.monotonic()
    records, found = Records.open(options.records, run=run)
    with closing(records):
        for event in (*job.warnings, *found, *(_invalid(job.rules.path, bad) for bad in job.rules.bad)):
            log.write(event)
        rules = job.rules.rules
        log.write(_started(job, len(rules)))
        flow = Flow(rules, run=run, facts=records, settings=job.settings, platforms=job.platforms, now=began)
        supervisor = Supervisor(
            flow,
            settings=job.settings,
            keyring=job.keyring,
            store=records,
            say=log.write,
            reopen_log=log.reopen if options.log is not None else None,
        )
        ending = supervisor.run()
        failed = flow.counts.failed + flow.counts.to_retry + flow.counts.rules_failed + len(job.rules.bad)
        left = not flow.finished
        _write_files(job, options, flow, records, run=run, tell=tell)
        summary = _summary(job, options, flow, ending, seconds=time.monotonic() - began)
        code = _exit_code(ending, failed=failed, left=left)
        *lines, last = summary_lines(summary)
        if log.is_terminal or options.log is not None:
            for line in lines:
                tell(line)
        log.write(_finished(last, flow, summary, code))
        if options.log is not None:
            tell(last)
    if ending.trouble is not None:
        raise ending.trouble
    return code


def _started(job: Job, rules: int) -> Event:
    return Event(
        name="run.start",
        message=f"{rules} rules, records {job.settings.records}"
        + (f", only {job.platforms}" if job.platforms.active else ""),
        fields={"rules": rules, "records": str(job.settings.records), "proc": job.settings.limits.proc},
    )


def _invalid(path: str, bad: BadRule) -> Event:
    hint = f" ({bad.hint})" if bad.hint else ""
    return Event(
        name="config.rule_invalid",
        level="error",
        message=f"{path}:{bad.line}:{bad.column}: rule {bad.text!r}: {bad.reason}{hint}; the others go on",
        fields={"file.path": path, "line": bad.line, "column": bad.column, "rule": bad.text},
    )


def _exit_code(ending: Ending, *, failed: int, left: bool) -> int:
    if ending.signal and left:
        return 128 + ending.signal
    return 1 if failed or left else 0


def _summary(job: Job, options: Options, flow: Flow, ending: Ending, *, seconds: float) -> Summary:
    counts = flow.counts
    notes = []
    if counts.left:
        notes.append(f"{counts.left} layers were left to the urls that their manifests name")
    if not flow.finished:
        unexpanded = len(flow.unexpanded)
        notes.append(
            f"stopped: {flow.begun} images begun and not finished, {unexpanded} rules not fully expanded;"
            " repeat the command to go on"
        )
    if options.failed_file is not None and (counts.failed or counts.rules_failed or job.rules.bad):
        notes.append(f"try these again:  image-syncer --images {options.failed_file}")
    if ending.trouble is not None:
        notes.append("this machine stopped the run; what is not in the records is only asked for again")
    return Summary(
        copied=counts.copied,
        unchanged=counts.unchanged,
        skipped=counts.skipped,
        failed=counts.failed + counts.to_retry,
        left=flow.begun,
        rules_failed=counts.rules_failed + len(job.rules.bad),
        bytes=counts.written,
        mounted=counts.mounted,
        requests=sum(counts.requests.values()),
        seconds=seconds,
        notes=tuple(notes),
    )


def _finished(message: str, flow: Flow, summary: Summary, code: int) -> Event:
    return Event(
        name="run.finish",
        level="error" if code else "info",
        message=message,
        fields={
            "copied": summary.copied,
            "unchanged": summary.unchanged,
            "skipped": summary.skipped,
            "failed": summary.failed,
            "rules_failed": summary.rules_failed,
            "left": summary.left,
            "bytes": summary.bytes,
            "uploaded": flow.counts.uploaded,
            "mounted": flow.counts.mounted,
            "present": flow.counts.present,
            "requests": summary.requests,
            "duration": round(summary.seconds, 3),
            "exit_code": code,
        },
    )


def _write_files(
    job: Job, options: Options, flow: Flow, records: Records, *, run: str, tell: Callable[[str], None]
) -> None:
    """Write the files of successes and failures; trouble with them does not hide how the run ended."""
    try:
        if options.success_file is not None:
            rows = records.images(run=run, results={"copied", "unchanged"})
            write_success(options.success_file, rows, fmt=options.success_format)
        if options.failed_file is not None:
            rows = records.images(run=run, results={"failed"})
            write_failed(
                options.failed_file, rows, _lost_rules(job, flow), fmt=format_of(options.failed_file)
            )
    except MachineError as error:
        tell(f"image-syncer: error: {error}")


def _lost_rules(job: Job, flow: Flow) -> list[tuple[str, tuple[str, ...]]]:
    """Rules of which some images may never have been named: as written, for the next run."""
    lost = {*flow.failed_rules, *(flow.unexpanded if not flow.finished else ())}
    bad = [(rule.text, rule.destinations) for rule in job.rules.bad]
    return bad + [(rule.text, _destinations(rule)) for rule in job.rules.rules if rule.number in lost]


def _destinations(rule: Rule) -> tuple[str, ...]:
    return tuple(_target(target) for target in rule.targets)


def _target(target: Target) -> str:
    return str(target.repository) + (":" + ",".join(target.names) if target.names else "")
