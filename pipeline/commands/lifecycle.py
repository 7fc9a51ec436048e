"""The life of a run, a plan or a verification: the same code for all three, which a Verb tells what it is.

It begins: a log under a new name, records, the start event. It is watched: by history, display, metrics, the
run state and the heartbeat. It ends: the verb's own finish writes files and summary.
"""

from __future__ import annotations

import datetime as dt
import secrets
import sys
import time
import traceback
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.commands.finish import lost_rules
from pipeline.commands.finished_run import FinishedRun
from pipeline.commands.job import invalid_rules, prepare
from pipeline.engine.local.forking import warm_up
from pipeline.engine.local.pool import LocalPool
from pipeline.engine.signals import StoppedError, ignore_one_stop, raise_on_stop
from pipeline.engine.supervisor import Supervisor
from pipeline.errors import MachineError
from pipeline.log import Event, Log, open_log
from pipeline.model.facts import RunRow
from pipeline.observe.choice import choose
from pipeline.observe.heartbeat import Heartbeat
from pipeline.observe.history import RunHistory
from pipeline.observe.recorder import RunStateRecorder
from pipeline.observe.run_state import text_of
from pipeline.scheduler.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from pipeline.commands.finished_run import Printer
    from pipeline.commands.job import Job
    from pipeline.engine.supervisor import Ending
    from pipeline.observe.display import Display
    from pipeline.observe.metrics.export import Exporter
    from pipeline.records.store import Records
    from pipeline.report.summary import Summary
    from pipeline.settings import Options

    OpenedRecords = tuple[Records, tuple[Event, ...], str]
    """Records, an event for each thing that is wrong with them, and the state of the run before as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """What makes a run, a plan and a verification differ."""

    records: Callable[[Options, str], AbstractContextManager[OpenedRecords]]
    """Opens the records, for the options and the name of the run."""
    keeps_state: bool
    """Whether the records keep the state of the run, for `status`."""
    stops_at_once: bool
    """Whether a signal that comes before or after the supervisor handles them ends it there."""
    start_event: Callable[[Job], Event]
    finish: Callable[[FinishedRun], Summary]
    """Writes and tells what is found; returns what was told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watch:
    """Who watches."""

    log: Log
    how: Literal["live", "plain", "none"]
    """What is shown beside the log: see observe/choice.py."""
    history: RunHistory
    exporter: Exporter | None
    """Metrics, where they were asked for."""


def run(verb: Verb, options: Options, environ: Mapping[str, str], *, say: Printer) -> int:
    """Run to the end; returns the exit code.

    Raises:
        UsageError, FileError: before anything was asked.
        MachineError: the records cannot be used, workers cannot be started, or a defect of image-syncer.
    """
    with _exporter(options) as exporter:
        job = prepare(options, environ)
        if job.rules.rules:
            warm_up()
        try:
            with raise_on_stop() if verb.stops_at_once else nullcontext():
                return _run_logged(verb, job, options, environ, say=say, exporter=exporter)
        except StoppedError as stopped:
            return 128 + stopped.number


def _run_logged(
    verb: Verb,
    job: Job,
    options: Options,
    environ: Mapping[str, str],
    *,
    say: Printer,
    exporter: Exporter | None,
) -> int:
    """Run under a new name with a log; a defect of ours is logged with its traceback.

    Raises:
        MachineError: of the run, or the defect.
    """
    name = secrets.token_hex(4)
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    how = choose(options.progress, is_terminal=on_terminal, is_quiet=options.quiet, environ=environ)
    if how == "live" and job.settings.aim != "copy":
        # The live view shows bytes that move; a plan and a verification have a line for each image.
        how = "plain"
    terse = options.log is None and (how == "live" or options.quiet)
    level = options.log_level or ("warning" if terse else "info")
    with closing(open_log(options.log, level=level, run=name, form=options.log_format)) as log:
        try:
            watch = _Watch(log=log, how=how, history=RunHistory(), exporter=exporter)
            return _run(verb, job, options, watch=watch, name=name, say=say)
        except MachineError:
            raise
        except MemoryError as error:
            raise MachineError(
                "there is too little memory; see ulimit -v, and the limits of the container"
            ) from error
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            log.write(Event(name="run.broken", message=trace, level="error"))
            raise MachineError(
                f"a defect of image-syncer ended the run: {type(error).__name__}: {error};"
                " please report it with the traceback from the log. Repeat the command to go on"
            ) from error


def _run(verb: Verb, job: Job, options: Options, *, watch: _Watch, name: str, say: Printer) -> int:
    began, clock = dt.datetime.now().astimezone().isoformat(timespec="seconds"), time.monotonic()
    with ExitStack() as after, verb.records(options, name) as (records, found, previous):
        for event in (*job.warnings, *found, *invalid_rules(job), verb.start_event(job)):
            watch.history.hear(event)
            watch.log.write(event)
        if watch.exporter is not None:
            watch.exporter.begin(watch.log.write)
        scheduler = _scheduler(job, records, run=name, now=clock)
        recorder = _recorder(scheduler, job, options, run=name, records=records) if verb.keeps_state else None
        ending = _supervise(
            scheduler, job, options, watch=watch, recorder=recorder, store=records, after=after
        )
        finished = FinishedRun(
            name=name,
            job=job,
            options=options,
            scheduler=scheduler,
            records=records,
            previous=previous,
            history=watch.history,
            ending=ending,
            began=began,
            seconds=time.monotonic() - clock,
            log=watch.log,
            say=say,
            exporter=watch.exporter,
        )
        summary = verb.finish(finished)
        if recorder is not None:
            recorder.end(summary, trouble=str(ending.trouble or ""))
            with suppress(MachineError):
                # What the images need is on disk; this row alone is no reason for another exit code.
                records.flush()
    if ending.trouble is not None:
        raise ending.trouble
    return summary.exit_code


def _scheduler(job: Job, records: Records, *, run: str, now: float) -> Scheduler:
    scheduler = Scheduler(
        job.rules.rules, run=run, facts=records, settings=job.settings, platforms=job.platforms, now=now
    )
    scheduler.figures.reject_rules(len(job.rules.bad))
    return scheduler


def _recorder(
    scheduler: Scheduler, job: Job, options: Options, *, run: str, records: Records
) -> RunStateRecorder:
    """The observer that writes the state of the run to its records."""
    return RunStateRecorder(
        lambda run_state: records.write(RunRow(text=text_of(run_state))),
        run=run,
        command=("image-syncer", *options.arguments),
        figures=scheduler.figures,
        lost=lambda: lost_rules(job, scheduler),
    )


def _supervise(
    scheduler: Scheduler,
    job: Job,
    options: Options,
    *,
    watch: _Watch,
    recorder: RunStateRecorder | None,
    store: Records,
    after: ExitStack,
) -> Ending:
    """Let the supervisor run it, with everybody who wants to watching.

    Until `after` ends, one signal to stop that comes after the supervisor's end is ignored.
    """
    log = watch.log
    with _display(job, log) if watch.how == "live" else nullcontext() as display:
        watchers = [each for each in (watch.history, display, watch.exporter, recorder) if each is not None]
        every = options.progress_interval if watch.how != "none" else 0.0
        heartbeat = Heartbeat(log.write, every=every, aim=job.settings.aim)
        supervisor = Supervisor(
            scheduler,
            settings=job.settings,
            pool=LocalPool(job.settings, job.keyring),
            store=store,
            say=_to_all(*(watcher.hear for watcher in watchers), log.write),
            reopen_log=log.reopen if options.log is not None else None,
            observers=(*watchers, heartbeat),
            tell_progress=heartbeat.tell,
        )
        after.enter_context(ignore_one_stop())
        return supervisor.run()


@contextmanager
def _exporter(options: Options) -> Iterator[Exporter | None]:
    """Metrics, where they are asked for."""
    if options.metrics_listen is None and options.metrics_file is None:
        yield None
        return
    from pipeline.observe.metrics.export import Exporter  # noqa: PLC0415 - prometheus-client, which few runs need

    with closing(Exporter(listen=options.metrics_listen, path=options.metrics_file)) as exporter:
        yield exporter


@contextmanager
def _display(job: Job, log: Log) -> Iterator[Display]:
    """A live view on standard error, above which the log writes its lines where they go there too."""
    from pipeline.observe.display import Display  # noqa: PLC0415 - rich, which only a terminal needs

    display = Display(sys.stderr.fileno(), title=f"{job.rules.path or 'copy'}  {len(job.rules.rules)} rules")
    if log.is_terminal:
        log.share(display.above)
    try:
        yield display
    finally:
        log.share(None)
        display.close()


def _to_all(*hear: Callable[[Event], None]) -> Callable[[Event], None]:
    """Hand each event to all of them, in order."""

    def say(event: Event) -> None:
        for each in hear:
            each(event)

    return say
