"""How a run, a plan and a verification start, are observed and end: the same code; a Verb is what differs.

Start: a log with a new run name, records, the start event. Observers: history, display, metrics, run state
and heartbeat. End: commands/finish.py writes files and summary.
"""

from __future__ import annotations

import datetime as dt
import secrets
import sys
import time
import traceback
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Literal

from pipeline.commands.finish import FinishedRun, finish, lost_rules
from pipeline.commands.job import invalid_rules, keep_given, prepare
from pipeline.commands.start import start_events
from pipeline.dataclass import dataclass
from pipeline.engine.local.pool import LocalPool
from pipeline.engine.signals import StoppedError, ignore_one_stop, raise_on_stop
from pipeline.engine.supervisor import Supervisor
from pipeline.errors import MachineError
from pipeline.log import Event, Log, mask, open_log
from pipeline.model.facts import RunRow
from pipeline.model.units import format_count
from pipeline.observe.choice import choose
from pipeline.observe.heartbeat import Heartbeat
from pipeline.observe.history import RunHistory
from pipeline.observe.recorder import RunStateRecorder
from pipeline.observe.run_state import text_of
from pipeline.scheduler.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from pipeline.commands.finish import Finish, Printer
    from pipeline.commands.job import Job
    from pipeline.engine.pool import WorkerPool
    from pipeline.engine.supervisor import Ending
    from pipeline.observe.display import Display
    from pipeline.observe.metrics.export import Exporter
    from pipeline.records.store import Records
    from pipeline.settings import Options

    OpenedRecords = tuple[Records, tuple[Event, ...]]
    """Records, and an event for each problem in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """What differs between a run, a plan and a verification."""

    records: Callable[[Job, str], AbstractContextManager[OpenedRecords]]
    """Opens the records; arguments: the job, the run's name."""
    keeps_state: bool
    """Whether the run state is written to the records, for `status`."""
    stops_at_once: bool
    """Whether a signal outside the supervisor's loop ends it at once, with its temporary folder removed."""
    finish: Finish


@dataclass(frozen=True, slots=True, kw_only=True)
class _Observers:
    """The log and the observers."""

    log: Log
    how: Literal["live", "plain", "none"]
    """The display beside the log: see observe/choice.py."""
    history: RunHistory
    exporter: Exporter | None
    """Metrics; None: not requested."""


def run(verb: Verb, options: Options, environ: Mapping[str, str], *, say: Printer) -> int:
    """Run to the end; returns the exit code.

    Raises:
        UsageError, FileError: before any request.
        MachineError: the records cannot be used, workers cannot be started, or image-syncer has a bug.
    """
    with _exporter(options) as exporter:
        job = prepare(options, environ)
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
    """Run with a new name and a log; an unexpected exception is logged with its traceback.

    Raises:
        MachineError: of the run, or for the exception.
    """
    name = secrets.token_hex(4)
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    how = choose(options.progress, is_terminal=on_terminal, is_quiet=options.quiet, environ=environ)
    terse = options.log is None and (how == "live" or options.quiet)
    level = options.log_level or ("warning" if terse else "info")
    with closing(open_log(options.log, level=level, run=name, form=options.log_format)) as log:
        try:
            watch = _Observers(log=log, how=how, history=RunHistory(), exporter=exporter)
            return _run(verb, job, options, watch=watch, name=name, say=say)
        except MachineError:
            raise
        except MemoryError as error:
            raise MachineError("out of memory; see ulimit -v and the limits of the container") from error
        except Exception as error:
            trace = mask("".join(traceback.format_exception(error)))
            log.write(Event(name="run.broken", message=trace, level="error"))
            raise MachineError(
                f"a bug in image-syncer ended the run: {type(error).__name__}: {mask(str(error))}; please"
                " report it with the traceback from the log, and repeat the command to resume"
            ) from error


def _run(verb: Verb, job: Job, options: Options, *, watch: _Observers, name: str, say: Printer) -> int:
    began, clock = dt.datetime.now().astimezone(), time.monotonic()
    with ExitStack() as after, verb.records(job, name) as (records, found):
        options = keep_given(options, job.given) if verb.keeps_state else options
        for event in (*start_events(job, options), *job.warnings, *found, *invalid_rules(job)):
            watch.history.hear(event)
            watch.log.write(event)
        if watch.exporter is not None:
            watch.exporter.begin(watch.log.write)
        scheduler = _scheduler(job, records, run=name, now=clock, epoch=began.timestamp() - clock)
        recorder = None
        if verb.keeps_state:
            recorder = _recorder(scheduler, job, options, watch=watch, run=name, records=records)
        ending = _supervise(
            scheduler, job, options, watch=watch, recorder=recorder, store=records, after=after
        )
        finished = FinishedRun(
            name=name,
            job=job,
            options=options,
            scheduler=scheduler,
            records=records,
            history=watch.history,
            ending=ending,
            began=began,
            ended=dt.datetime.now().astimezone(),
            seconds=time.monotonic() - clock,
            log=watch.log,
            say=say,
            exporter=watch.exporter,
        )
        summary = finish(finished, verb.finish)
        if recorder is not None:
            recorder.end(summary, trouble=str(ending.trouble or ""))
            with suppress(MachineError):
                # All images are on disk; the lack of this row does not change the exit code.
                records.flush()
    if ending.trouble is not None:
        raise ending.trouble
    return summary.exit_code


def _scheduler(job: Job, records: Records, *, run: str, now: float, epoch: float) -> Scheduler:
    scheduler = Scheduler(
        job.rules.rules,
        run=run,
        facts=records,
        settings=job.settings,
        options=job.options,
        now=now,
        settings_of=job.keyring.settings,
        epoch=epoch,
    )
    scheduler.figures.reject_rules(len(job.rules.bad))
    return scheduler


def _recorder(
    scheduler: Scheduler, job: Job, options: Options, *, watch: _Observers, run: str, records: Records
) -> RunStateRecorder:
    """The observer that writes the run state to the records."""
    return RunStateRecorder(
        watch.history,
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
    watch: _Observers,
    recorder: RunStateRecorder | None,
    store: Records,
    after: ExitStack,
) -> Ending:
    """Run the supervisor with all observers.

    From the supervisor's end until `after` ends, one stop signal is ignored.
    """
    log = watch.log
    with _display(job, watch) if watch.how == "live" else nullcontext() as display:
        observers = [each for each in (watch.history, display, watch.exporter, recorder) if each is not None]
        every = options.progress_interval if watch.how != "none" else 0.0
        heartbeat = Heartbeat(watch.history, log.write, every=every, aim=job.settings.aim)
        supervisor = Supervisor(
            scheduler,
            settings=job.settings,
            pool=_pool(job, options, log),
            store=store,
            say=_to_all(*(each.hear for each in observers), log.write),
            reopen_log=log.reopen if options.log is not None else None,
            observers=(*observers, heartbeat),
            tell_progress=heartbeat.tell,
        )
        after.enter_context(ignore_one_stop())
        return supervisor.run()


def _pool(job: Job, options: Options, log: Log) -> WorkerPool:
    """The workers: processes of this machine, or those of a Dask cluster."""
    if options.cluster is None:
        return LocalPool(job.settings, job.keyring)
    from pipeline.commands.worker_logins import logins_of  # noqa: PLC0415 - as below
    from pipeline.engine.dask.pool import DaskPool  # noqa: PLC0415 - an extra, which may not be installed

    recipe = logins_of(job, options)
    return DaskPool(job.settings, recipe, options.cluster, say=log.write)


@contextmanager
def _exporter(options: Options) -> Iterator[Exporter | None]:
    """Metrics, if requested."""
    if options.metrics_listen is None and options.metrics_file is None:
        yield None
        return
    from pipeline.observe.metrics.export import Exporter  # noqa: PLC0415 - prometheus-client: few runs need it

    with closing(Exporter(listen=options.metrics_listen, path=options.metrics_file)) as exporter:
        yield exporter


@contextmanager
def _display(job: Job, watch: _Observers) -> Iterator[Display]:
    """A live view on standard error; a log to the same terminal writes its lines above it."""
    from pipeline.observe.display import Display  # noqa: PLC0415 - rich: only a terminal needs it
    from pipeline.observe.live_rows import LiveRows  # noqa: PLC0415 - as above

    log, title = watch.log, f"{job.rules.path or 'copy'}  {format_count(len(job.rules.rules), 'rule')}"
    rows = LiveRows(sys.stderr.fileno())
    if log.is_terminal:
        log.share(rows.above)
    try:
        yield Display(watch.history, rows, title=title, aim=job.settings.aim)
    finally:
        log.share(None)
        rows.close()


def _to_all(*hear: Callable[[Event], None]) -> Callable[[Event], None]:
    """A function that passes each event to all of them, in order."""

    def say(event: Event) -> None:
        for each in hear:
            each(event)

    return say
