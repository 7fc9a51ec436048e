"""The job of a run: everything that the user wrote, read and checked before any request or write."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.config.credentials import read_credentials
from pipeline.config.files import STANDARD_INPUT, choose_files, is_folder, is_rules_file, rules_ignored
from pipeline.config.given import given_credentials
from pipeline.config.legacy import read_legacy
from pipeline.config.rule_files import read_rule_files
from pipeline.config.rules import BadRule, RulesFile, make_defaults, rule_from_words
from pipeline.dataclass import dataclass
from pipeline.errors import FileError, RuleError, UsageError
from pipeline.log import Event
from pipeline.model.expansion import areas_of
from pipeline.model.options import ImageOptions
from pipeline.model.platform import parse_filter
from pipeline.model.referrers import Referrers, parse_referrers
from pipeline.model.sharding import rules_of_shard
from pipeline.outputs.image_lists import format_of
from pipeline.outputs.writing import check_page, check_writable, refuse_shared, write_text
from pipeline.settings import Limits, Options, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from pipeline.config.files import Files
    from pipeline.config.keyring import Keyring
    from pipeline.config.rule_files import GivenRules
    from pipeline.config.rules import Defaults
    from pipeline.model.reference import Repository
    from pipeline.settings import Aim, Shard

_FAILED_FILE = "failed.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The input of a run, read and checked."""

    keyring: Keyring
    rules: RulesFile
    options: ImageOptions
    """For images whose rule has none of its own."""
    settings: Settings
    warnings: tuple[Event, ...]
    files: Files
    """The files that were read; without `images` if the rules have no file that --images could name."""
    given: GivenRules | None = None
    """The rules from standard input."""
    shard: Shard | None = None
    """The shard of the rules in `rules`; None: all."""


def prepare(options: Options, environ: Mapping[str, str]) -> Job:
    """Read and check everything that the user wrote.

    Raises:
        UsageError, FileError: something is wrong; nothing was requested or written.
    """
    of_images = ImageOptions(
        platforms=parse_filter(options.os, options.arch),
        referrers=_referrers(options.referrers),
        force=options.force,
        retries=options.retries,
    )
    check_outputs(options)
    settings = Settings(
        records=options.records,
        patience=options.patience,
        bandwidth=options.bandwidth,
        drain=options.drain,
        debug=options.log_level == "debug",
        trust_existing=options.trust_existing,
        timed=_is_timed(options),
        limits=Limits(proc=options.proc),
    )
    match options.verb:
        case "plan" | "verify" as aim:
            settings = _surveying(settings, aim, deep=options.deep)
    read = _read_files(options, environ)
    read.keyring.require(_repositories(read.rules))
    check_mirrors(read.keyring, read.rules)
    job = Job(
        keyring=read.keyring,
        rules=read.rules,
        options=of_images,
        settings=settings,
        warnings=read.warnings,
        files=read.files,
        given=read.given,
    )
    return _part(job, options.shard) if options.shard is not None else job


def _part(job: Job, shard: Shard) -> Job:
    """The part of the job that belongs to a shard; invalid rules belong to the first one, the others warn.

    Raises:
        UsageError: the rules cannot be split.
    """
    rules, warnings = replace(job.rules, rules=rules_of_shard(job.rules.rules, shard)), job.warnings
    if shard.index:
        warnings += tuple(_of_first_shard(event) for event in invalid_rules(job))
        rules = replace(rules, bad=())
    proc, bandwidth = job.settings.limits.proc, job.settings.bandwidth
    settings = replace(
        job.settings,
        limits=replace(job.settings.limits, proc=proc and max(1, proc // shard.parallelism)),
        bandwidth=bandwidth and bandwidth / shard.parallelism,
    )
    keyring = job.keyring.shared(shard.parallelism)
    return replace(job, shard=shard, keyring=keyring, rules=rules, settings=settings, warnings=warnings)


def _of_first_shard(event: Event) -> Event:
    return replace(event, level="warning", message=f"{event.message}; shard 0 counts it as failed")


def _referrers(texts: tuple[str, ...] | None) -> Referrers:
    """The value of --referrers; by default companions of copied images, as far as the destination takes
    them.

    Raises:
        UsageError: it is not understood.
    """
    if texts is None:
        return Referrers(written=False)
    try:
        return parse_referrers(texts)
    except RuleError as error:
        raise UsageError(f"--referrers: {error}") from None


def _surveying(settings: Settings, aim: Aim, *, deep: bool) -> Settings:
    """The settings of a plan or verification: blobs are checked, not copied, so a stop waits for nothing."""
    limits = settings.limits if deep else replace(settings.limits, bodies=settings.limits.requests)
    return replace(settings, aim=aim, deep=deep, timed=True, drain=0.0, limits=limits)


def _is_timed(options: Options) -> bool:
    """Whether metrics, report or JSON need the duration of requests."""
    metrics = options.metrics_listen is not None or options.metrics_file is not None
    return metrics or options.report is not None or options.json


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inputs:
    """What was read: fields of Job."""

    keyring: Keyring
    rules: RulesFile
    warnings: tuple[Event, ...]
    files: Files
    given: GivenRules | None = None


def _read_files(options: Options, environ: Mapping[str, str]) -> _Inputs:
    defaults = make_defaults(options.registry, options.namespace)
    files = choose_files(
        auth=options.auth,
        images=options.images,
        config=options.config,
        rules_needed=not options.words,
    )
    refuse_shared_files(files, options)
    if options.to is not None and not files.images:
        raise UsageError("--to is for plain lists: name one with --images")
    if files.config is not None:
        keyring, rules, more = read_legacy(files.config, defaults=defaults, environ=environ)
    else:
        keyring, more = read_credentials(files.auth, environ=environ)
        rules = RulesFile(path="", rules=(), bad=())
    read = _Inputs(keyring=keyring, rules=rules, warnings=(*files.warnings, *more), files=files)
    if options.words:
        return _from_words(options, read, defaults=defaults, environ=environ)
    if not files.images:
        return read
    rules, given = read_rule_files(files.images, to=options.to, defaults=defaults, environ=environ)
    warnings = (*read.warnings, *rules.warnings)
    return replace(read, rules=rules, warnings=warnings, given=given)


def _from_words(
    options: Options, read: _Inputs, *, defaults: Defaults, environ: Mapping[str, str]
) -> _Inputs:
    """The rule of the command line instead of those of a file."""
    if options.images:
        raise UsageError(
            f"{options.verb} has its rule on the command line: omit --images {options.images[0]}"
        )
    warnings = read.warnings
    if read.rules.path:
        warnings += (rules_ignored(read.rules.path, options.verb),)
    source, *destinations = options.words
    try:
        rule = rule_from_words(
            source, destinations, defaults=defaults, environ=environ, all_tags=options.all_tags
        )
    except RuleError as error:
        raise UsageError(f"{options.verb} {' '.join(options.words)}: {error}") from error
    given, shown = given_credentials(rule, options, environ)
    return replace(
        read,
        keyring=read.keyring.with_logins(given),
        files=replace(read.files, images=()),
        rules=RulesFile(path="", rules=(rule,), bad=()),
        warnings=(*warnings, *shown),
    )


def _repositories(rules: RulesFile) -> Iterator[Repository]:
    """Every repository in the rules, without duplicates."""
    named = (each for rule in rules.rules for each in (rule.source, *areas_of(rule)))
    return iter(dict.fromkeys(named))


def check_mirrors(keyring: Keyring, rules: RulesFile) -> None:
    """Make sure that mirrors have valid entries, and that none is written to in this run.

    Raises:
        FileError: one is.
    """
    targets = {area for rule in rules.rules for area in areas_of(rule)}
    for source in {rule.source for rule in rules.rules}:
        for mirror in keyring.settings(source.registry).mirrors:
            keyring.require((mirror.repository(source),))
            written = next((each for each in targets if mirror.covers(each)), None)
            if written is not None:
                path, line, column = mirror.place
                message = f"mirrors of {source.registry!r}: {mirror} is a destination of this run: {written}"
                hint = "take it out of mirrors, or name the part that is a cache: host/prefix"
                raise FileError(path, message, line=line, column=column, hint=hint)


def own_failed_file(options: Options) -> Path:
    """The default list of failures, so that there is always a command to retry them."""
    return options.records / _FAILED_FILE


def check_outputs(options: Options) -> None:
    """Check at the start that the requested files can be written at the end.

    Raises:
        FileError: one cannot, or its name has no known ending.
    """
    for path in (options.success_file, options.failed_file, options.report, options.metrics_file):
        if path is not None:
            check_writable(path)
    if options.failed_file is not None:
        format_of(options.failed_file)
    if options.report is not None:
        check_page(options.report)


def refuse_shared_files(files: Files, options: Options) -> None:
    """Reject output files that are read, or written twice; a retry may replace the list that it reads.

    Raises:
        UsageError: there is one.
    """
    own = os.path.realpath(own_failed_file(options))
    read = [*(("--auth", path) for path in files.auth), ("--config", files.config)]
    written = {
        "--output-success-images": options.success_file,
        "--output-failed-images": options.failed_file,
        "--report": options.report,
        "--metrics-file": options.metrics_file,
        "--log": options.log,
    }
    if not options.words:
        replaces_own = options.failed_file is None or os.path.realpath(options.failed_file) == own
        if files.images and replaces_own:
            written["--output-failed-images"] = own_failed_file(options)
        read += [
            ("--images", path)
            for path in files.images
            if path != STANDARD_INPUT and not (replaces_own and os.path.realpath(path) == own)
        ]
        _refuse_in_folders(options, _given(written.items()))
    refuse_shared(_given(read), _given(written.items()))


def _refuse_in_folders(options: Options, written: Iterable[tuple[str, Path]]) -> None:
    """Refuse output files that the next run would take for rules."""
    folders = {os.path.realpath(path) for path in options.images if is_folder(path)}
    for flag, path in written:
        if os.path.realpath(path.parent) in folders and is_rules_file(path):
            raise UsageError(f"{flag} {path} is in a folder of --images: the next run would read it as rules")


def _given(files: Iterable[tuple[str, Path | None]]) -> Iterator[tuple[str, Path]]:
    return ((flag, path) for flag, path in files if path is not None)


def keep_given(options: Options, given: GivenRules | None) -> Options:
    """Keep the rules of standard input in the records; returns options with a command that reads them there.

    Raises:
        MachineError: they cannot be written.
    """
    if given is None:
        return options
    path = options.records / f"stdin{given.ending}"
    write_text(path, (given.text,))
    words = list(options.arguments)
    for place, word in enumerate(words):
        if word == f"--images={STANDARD_INPUT}":
            words[place] = f"--images={path}"
        elif word == str(STANDARD_INPUT) and words[place - 1] == "--images":
            words[place] = str(path)
    return replace(options, arguments=tuple(words))


def invalid_rules(job: Job) -> Iterator[Event]:
    """An event for each invalid rule."""
    return (_invalid(bad) for bad in job.rules.bad)


def _invalid(bad: BadRule) -> Event:
    hint = f" ({bad.hint})" if bad.hint else ""
    return Event(
        name="config.rule_invalid",
        level="error",
        message=f"{bad.place}: rule {bad.text!r}: {bad.reason}{hint}; the other rules run",
        fields={
            "file.path": bad.path,
            "line": bad.line,
            "column": bad.column,
            "rule": bad.text,
            "reason": bad.reason,
        },
    )
