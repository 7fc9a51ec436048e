"""One run: reads the files, opens the records, lets the supervisor run Flow, writes what is to be left.

Whatever can be wrong with flags and files is found before any request.
"""

from __future__ import annotations

import secrets
import sys
import time
import traceback
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from pipeline.commands.finish import finish, lost_rules
from pipeline.commands.finished_run import FinishedRun, Printer
from pipeline.commands.job import Job, invalid_rules, prepare
from pipeline.engine.local.pool import LocalPool
from pipeline.engine.signals import one_press_late
from pipeline.engine.supervisor import Supervisor
from pipeline.errors import MachineError
from pipeline.log import Event, Log, open_log
from pipeline.model.facts import RunRow
from pipeline.observe.choice import choose
from pipeline.observe.heartbeat import Heartbeat
from pipeline.observe.history import RunHistory
from pipeline.observe.recorder import RunStateRecorder
from pipeline.observe.run_state import text_of
from pipeline.records.store import Records
from pipeline.scheduler.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pipeline.engine.supervisor import Ending
    from pipeline.observe.display import Display
    from pipeline.observe.metrics.export import Exporter
    from pipeline.settings import Options


def sync(
    options: Options,
    environ: Mapping[str, str],
    *,
    tell: Callable[[str], None],
    show: Callable[[str], None],
) -> int:
    """Run to the end; returns the exit code.

    Args:
        options: the command line.
        environ: the environment.
        tell: prints a line for a person.
        show: prints a line on standard output.

    Raises:
        UsageError, FileError: before anything was asked.
        MachineError: the records cannot be had, or workers cannot be started.
    """
    with _exporter(options) as exporter:
        job = prepare(options, environ)
        say = Printer(tell=tell, show=show)
        return run_logged(job, options, environ, say=say, exporter=exporter, act=_run)


def run_logged(
    job: Job,
    options: Options,
    environ: Mapping[str, str],
    *,
    say: Printer,
    exporter: Exporter | None,
    act: Act,
) -> int:
    """Do something under a new name with a log; a defect of ours is logged with its traceback.

    Raises:
        MachineError: of `act`, or the defect.
    """
    run = secrets.token_hex(4)
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    how = choose(options.progress, is_terminal=on_terminal, is_quiet=options.quiet, environ=environ)
    if how == "live" and job.settings.aim != "copy":
        # The live view tells of bytes that move; a plan and a proof have a line for each image.
        how = "plain"
    terse = options.log is None and (how == "live" or options.quiet)
    level = options.log_level or ("warning" if terse else "info")
    with closing(open_log(options.log, level=level, run=run, form=options.log_format)) as log:
        try:
            watch = Watch(log=log, how=how, history=RunHistory(), exporter=exporter)
            return act(job, options, watch=watch, run=run, say=say)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who watches the run."""

    log: Log
    how: Literal["live", "plain", "none"]
    """What is shown of it beside the log: see progress.choose."""
    history: RunHistory
    exporter: Exporter | None
    """Metrics, where they were asked for."""


class Act(Protocol):
    """What is done with a job."""

    def __call__(self, job: Job, options: Options, *, watch: Watch, run: str, say: Printer) -> int:
        """Do it; returns the exit code."""


def _run(job: Job, options: Options, *, watch: Watch, run: str, say: Printer) -> int:
    began = time.monotonic()
    log, history, exporter = watch.log, watch.history, watch.exporter
    records, found = Records.open(options.records, run=run)
    with ExitStack() as after, closing(records):
        for event in (*job.warnings, *found, *invalid_rules(job)):
            history.hear(event)
            log.write(event)
        log.write(_started(job, len(job.rules.rules)))
        if exporter is not None:
            exporter.begin(log.write)
        scheduler = Scheduler(
            job.rules.rules, run=run, facts=records, settings=job.settings, platforms=job.platforms, now=began
        )
        scheduler.figures.reject_rules(len(job.rules.bad))
        recorder = _recorder(scheduler, job, options, run=run, records=records)
        ending = supervise(
            scheduler, job, options, watch=watch, recorder=recorder, store=records, after=after
        )
        over = FinishedRun(
            name=run,
            job=job,
            options=options,
            scheduler=scheduler,
            records=records,
            history=history,
            ending=ending,
            seconds=time.monotonic() - began,
            say=say,
            exporter=exporter,
        )
        summary = finish(over, log)
        recorder.end(summary, trouble=str(ending.trouble or ""))
        with suppress(MachineError):
            # What the images need is on disk: that this note is not, is no reason to end otherwise.
            records.flush()
    if ending.trouble is not None:
        raise ending.trouble
    return summary.exit_code


def _recorder(
    scheduler: Scheduler, job: Job, options: Options, *, run: str, records: Records
) -> RunStateRecorder:
    """Who notes in the records how the run stands."""
    return RunStateRecorder(
        lambda run_state: records.write(RunRow(text=text_of(run_state))),
        run=run,
        command=("image-syncer", *options.arguments),
        figures=scheduler.figures,
        lost=lambda: lost_rules(job, scheduler),
    )


def supervise(
    scheduler: Scheduler,
    job: Job,
    options: Options,
    *,
    watch: Watch,
    recorder: RunStateRecorder | None,
    store: Records,
    after: ExitStack,
) -> Ending:
    """Let the supervisor run it, with everybody who wants to watching.

    Until `after` ends, one press of a signal to stop passes by that comes when the supervisor is done.
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
        after.enter_context(one_press_late())
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


def _started(job: Job, rules: int) -> Event:
    return Event(
        name="run.start",
        message=f"{rules} rules, records {job.settings.records}"
        + (f", only {job.platforms}" if job.platforms.active else ""),
        fields={"rules": rules, "records": str(job.settings.records), "proc": job.settings.limits.proc},
    )
