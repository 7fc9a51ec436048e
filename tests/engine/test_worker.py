from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pipeline.engine.worker import Setup, Worker
from pipeline.model.life_signs import Alive, BootFailed
from pipeline.model.messages import (
    BytesTransferred,
    ManifestFetched,
    ManifestPushed,
    Outcome,
    TaskFailed,
    UploadCheckpoint,
    UploadProgress,
)
from pipeline.settings import MAX_MANIFEST, Settings
from tests.engine.harness import hear_out, listen, of_kind
from tests.engine.runners import BROKEN, ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.engine.local.process import WorkerProcess
    from pipeline.model.messages import Task, WorkerMessage

    Begin = Callable[..., WorkerProcess]


def has(kind: type[WorkerMessage], count: int = 1) -> Callable[[list[WorkerMessage]], bool]:
    """Whether this many messages of that type have arrived."""
    return lambda heard: len(of_kind(heard, kind)) >= count


def fail(worker: WorkerProcess, word: str) -> TaskFailed:
    """The worker's answer to a task that fails."""
    worker.inbox.send(ask(word))
    (failed,) = of_kind(listen(worker, has(TaskFailed)), TaskFailed)
    return failed


class TestTasks:
    def test_ready_and_outcome_are_reported(self, begin: Begin) -> None:
        """A worker reports that it is ready, and the outcome of a task."""
        worker = begin()
        worker.inbox.send(ask("echo"))
        assert [Alive(), ManifestPushed(key=ask("echo").key)] == listen(worker, has(ManifestPushed))

    def test_threads_run_tasks_in_parallel(self, begin: Begin) -> None:
        """As many tasks run at a time as the worker has threads, so two that wait for each other both end."""
        worker = begin(threads=2)
        worker.inbox.send(ask("pair 1"))
        worker.inbox.send(ask("pair 2"))
        ended = of_kind(listen(worker, has(ManifestPushed, 2)), ManifestPushed)
        assert {ask("pair 1").key, ask("pair 2").key} == {stored.key for stored in ended}

    def test_task_waits_for_a_free_thread(self, begin: Begin) -> None:
        """A task does not begin without a free thread."""
        worker = begin(threads=1)
        for word in ("move", "echo"):
            worker.inbox.send(ask(word))
        heard = listen(worker, has(BytesTransferred))
        worker.inbox.close()
        heard += hear_out(worker)
        assert [[ask("move").key], []] == [
            [word.key for word in of_kind(heard, BytesTransferred)],
            of_kind(heard, ManifestPushed),
        ]

    def test_bytes_are_reported_while_running(self, begin: Begin) -> None:
        """The bytes of a running task are reported while it runs."""
        worker = begin()
        worker.inbox.send(ask("move"))
        assert [BytesTransferred(key=ask("move").key, sent=7)] == of_kind(
            listen(worker, has(BytesTransferred)), BytesTransferred
        )

    def test_largest_manifest_fits(self, begin: Begin) -> None:
        """The largest manifest fits into an answer."""
        worker = begin()
        worker.inbox.send(ask("big"))
        (got,) = of_kind(listen(worker, has(ManifestFetched)), ManifestFetched)
        assert len(got.manifest.content) == MAX_MANIFEST


class TestFaults:
    def test_escaped_exception_becomes_a_fault(self, begin: Begin) -> None:
        """An exception that escapes a task becomes its fault, with the traceback as an event."""
        failed = fail(begin(), "raise")
        words = "RuntimeError: no way to https://[hidden]@registry.test/v2/?[hidden] with Bearer [hidden]"
        assert (ask("raise").key, "INTERNAL", words, False) == (
            failed.key,
            failed.fault.code,
            failed.fault.words,
            failed.fault.retryable,
        )
        (event,) = failed.events
        assert (event.name, event.level, "in run\n" in event.message) == ("task.broken", "debug", True)
        assert "hunter" not in event.message

    def test_thread_survives_task_that_exits(self, begin: Begin) -> None:
        """A task that tries to end its thread fails, and the thread serves the next one."""
        worker = begin(threads=1)
        words = fail(worker, "leave").fault.words
        worker.inbox.send(ask("echo"))
        assert (words, len(of_kind(listen(worker, has(ManifestPushed)), ManifestPushed))) == (
            "SystemExit: 3",
            1,
        )

    def test_oversized_outcome_fails_its_task(self, begin: Begin) -> None:
        """An outcome that is too large to send fails its task instead of leaving it unanswered."""
        assert fail(begin(), "huge").fault.words.startswith("ValueError: a message of ")

    def test_unpicklable_outcome_fails_its_task(self, begin: Begin) -> None:
        """An outcome that cannot be pickled fails its task instead of leaving it unanswered."""
        assert "pickle" in fail(begin(), "odd").fault.words

    def test_failed_start_is_reported(self, begin: Begin) -> None:
        """A worker that cannot start reports why, in one line, and exits."""
        worker = begin(runner=BROKEN)
        heard = hear_out(worker)
        reason = "the resolve worker cannot start: OSError: the keyring is locked"
        assert ([BootFailed(reason=reason)], "exit status 1") == (heard, worker.reap(10.0))

    def test_missing_runner_is_reported(self, begin: Begin) -> None:
        """A worker whose runner cannot be imported says so."""
        (failed,) = of_kind(hear_out(begin(runner="tests.engine.nowhere:make")), BootFailed)
        assert failed.reason.endswith("ModuleNotFoundError: No module named 'tests.engine.nowhere'")

    def test_setup_hides_keyring(self) -> None:
        """The repr of a setup does not show the keyring."""
        setup = Setup(stage="resolve", threads=1, settings=Settings(), keyring="hidden")
        assert "hidden" not in repr(setup)


class Blocked:
    """A runner whose only task runs until the test lets it end."""

    def __init__(self) -> None:
        """Start with the task not begun."""
        self.begun = threading.Event()
        self.let = threading.Event()
        self.moved: Callable[[int], None] = lambda _total: None

    def __call__(self, task: Task, moved: Callable[[int], None], kept: object) -> Outcome:
        """Run until the test releases it."""
        self.moved = moved
        self.begun.set()
        self.let.wait(30.0)
        return ManifestPushed(key=task.key)


class TestReports:
    def test_tick_reports_only_changes(self) -> None:
        """A tick reports a task's bytes only if they changed, even backwards, and Alive every 5 s."""
        said: list[WorkerMessage] = []
        run = Blocked()
        worker, task = Worker(said.append, run, threads=1), ask("echo")
        thread = threading.Thread(target=worker.run_task, args=(task,))
        thread.start()
        run.begun.wait(30.0)
        ticks = []
        for now, total in ((100.0, 0), (100.25, 8), (100.5, 8), (104.75, 3), (105.0, 3)):
            del said[:]
            run.moved(total)
            worker.report_progress(now)
            ticks.append(list(said))
        run.let.set()
        thread.join(30.0)
        assert [
            [Alive()],
            [BytesTransferred(key=task.key, sent=8)],
            [],
            [BytesTransferred(key=task.key, sent=3)],
            [Alive()],
        ] == ticks

    def test_checkpoint_is_reported_at_once(self) -> None:
        """A checkpoint of an upload is reported at once, and no repr shows its URL."""
        said: list[WorkerMessage] = []
        session = UploadCheckpoint(url="https://registry.test/session", offset=7)

        def run(task: Task, _moved: object, kept: Callable[[UploadCheckpoint | None], None]) -> Outcome:
            kept(session)
            return ManifestPushed(key=task.key)

        task = ask("echo")
        Worker(said.append, run, threads=1).run_task(task)
        assert [UploadProgress(key=task.key, session=session), ManifestPushed(key=task.key)] == said
        assert "registry.test/session" not in repr(said)

    def test_finished_task_reports_nothing(self) -> None:
        """Nothing is reported about a finished task, or by a worker without tasks."""
        said: list[WorkerMessage] = []
        run = Blocked()
        run.let.set()
        worker, task = Worker(said.append, run, threads=1), ask("echo")
        worker.run_task(task)
        run.moved(9)
        worker.report_progress(100.0)
        assert [ManifestPushed(key=task.key)] == said
