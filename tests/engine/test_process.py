from __future__ import annotations

import errno
import os
import select
import signal
from multiprocessing import forkserver
from typing import TYPE_CHECKING

import pytest

from pipeline.engine.local.forking import context
from pipeline.engine.local.process import stop_all
from pipeline.errors import MachineError
from pipeline.model.messages import BytesMoved, ManifestFetched, ManifestPushed, PushManifest
from pipeline.model.reference import Reference, Repository
from pipeline.settings import MAX_MANIFEST
from tests.engine.harness import descriptors, hear_out, listen, of_kind, start, wait_until_gone
from tests.engine.runners import ask
from tests.engine.test_worker import has

if TYPE_CHECKING:
    from pipeline.engine.local.forking import Context
    from pipeline.engine.local.process import WorkerProcess
    from tests.engine.test_worker import Begin


def kill_fork_server() -> None:
    """Kill it and wait until it is gone."""
    pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined] # typeshed leaves it out
    os.kill(pid, signal.SIGKILL)
    assert wait_until_gone([pid]) == []


def wait_for_bytes(worker: WorkerProcess) -> None:
    """Until something lies in a worker's outbox; it is not read."""
    assert select.select([worker.outbox], [], [], 30.0)[0]


class TestDeath:
    def test_idle_sibling(self, begin: Begin, any_context: Context) -> None:
        """A worker killed while it waits for a task takes nothing along: its siblings go on."""
        dead, alive = begin(any_context), begin(any_context)
        listen(dead, bool)
        os.kill(dead.pid, signal.SIGKILL)
        hear_out(dead)
        alive.inbox.send(ask("echo"))
        assert len(of_kind(listen(alive, has(ManifestPushed)), ManifestPushed)) == 1

    def test_last_answers(self, begin: Begin, any_context: Context) -> None:
        """What a worker answered before it was killed is read before the end of its outbox."""
        worker = begin(any_context, threads=1)
        for word in ("echo 1", "echo 2", "die", "echo 3"):
            worker.inbox.send(ask(word))
        heard = hear_out(worker)
        assert [ask("echo 1").key, ask("echo 2").key] == [
            stored.key for stored in of_kind(heard, ManifestPushed)
        ]

    def test_inbox_of_the_dead(self, begin: Begin) -> None:
        """Sending to a worker that is dead raises nothing and keeps nothing."""
        worker = begin()
        listen(worker, bool)
        worker.kill()
        reader = select.poll()
        reader.register(worker.inbox, 0)
        gone = reader.poll(30_000)
        worker.inbox.send(ask("echo"))
        assert (len(gone), worker.inbox.broken, worker.inbox.pending) == (1, True, False)

    def test_stopped_in_an_answer(self, begin: Begin) -> None:
        """A worker stopped in the middle of a large answer holds up neither reading nor writing."""
        worker = begin(threads=1)
        heard = listen(worker, bool)
        worker.inbox.send(ask("big"))
        wait_for_bytes(worker)
        os.kill(worker.pid, signal.SIGSTOP)
        for _ in range(100):
            heard += worker.outbox.read()
        reference = Reference(Repository("registry.test", "a"), "latest")
        put = PushManifest(destination=reference, media_type="m", digest="d", content=b"x" * MAX_MANIFEST)
        worker.inbox.send(put)
        held_up = (of_kind(heard, ManifestFetched), worker.outbox.at_end, worker.inbox.pending)
        os.kill(worker.pid, signal.SIGCONT)
        assert held_up == ([], False, True)
        assert len(of_kind(listen(worker, has(ManifestFetched)), ManifestFetched)) == 1

    def test_stopped_is_killed(self, begin: Begin) -> None:
        """A worker that is stopped can be killed, and half of its answer is dropped."""
        worker = begin(threads=1)
        listen(worker, bool)
        worker.inbox.send(ask("big"))
        wait_for_bytes(worker)
        os.kill(worker.pid, signal.SIGSTOP)
        worker.kill()
        assert (of_kind(hear_out(worker), ManifestFetched), worker.reap(10.0)) == ([], "killed by SIGKILL")


class TestLeaving:
    def test_busy(self, begin: Begin, any_context: Context) -> None:
        """A worker leaves when its inbox is closed, though its threads run and a sibling came later."""
        worker = begin(any_context)
        begin(any_context)
        worker.inbox.send(ask("move"))
        listen(worker, has(BytesMoved))
        worker.inbox.close()
        hear_out(worker)
        assert worker.reap(10.0) == "exit status 0"

    def test_all(self) -> None:
        """Stopping all lets each go, kills who stays, and leaves no process and no descriptor behind."""
        ctx = context()
        stop_all([start(ctx)], timeout=10.0)
        before = descriptors()
        workers = [start(ctx, name=f"resolve-{number}") for number in range(3)]
        listen(workers[1], bool)
        os.kill(workers[1].pid, signal.SIGSTOP)
        ends = stop_all(workers, timeout=1.0)
        assert ends == ["exit status 0", "did not exit; killed", "exit status 0"]
        assert (before, []) == (descriptors(), wait_until_gone([w.pid for w in workers]))

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
    def test_signals_of_others(self, begin: Begin, any_context: Context, number: int) -> None:
        """A worker takes no notice of the signals that are the supervisor's business."""
        worker = begin(any_context)
        listen(worker, bool)
        os.kill(worker.pid, number)
        worker.inbox.send(ask("echo"))
        assert len(of_kind(listen(worker, has(ManifestPushed)), ManifestPushed)) == 1


class TestStatus:
    @pytest.mark.parametrize(
        ("word", "status"), [("die", "killed by SIGKILL; perhaps out of memory"), ("exit", "exit status 3")]
    )
    def test_own_death(self, begin: Begin, any_context: Context, word: str, status: str) -> None:
        """How a worker ended is said in words, and no zombie is left."""
        worker = begin(any_context)
        worker.inbox.send(ask(word))
        hear_out(worker)
        assert (status, status, []) == (worker.reap(10.0), worker.reap(10.0), wait_until_gone([worker.pid]))
        with pytest.raises(ChildProcessError):
            os.waitpid(worker.pid, os.WNOHANG)

    def test_told_to_die(self, begin: Begin, any_context: Context) -> None:
        """A worker that was killed on purpose did not run out of memory."""
        worker = begin(any_context)
        worker.kill()
        hear_out(worker)
        assert worker.reap(10.0) == "killed by SIGKILL"

    def test_rubbish(self, begin: Begin) -> None:
        """A worker whose outbox cannot be read is killed, and the status says why."""
        worker = begin()
        listen(worker, bool)
        worker.outbox.at_end, worker.outbox.error = True, "UnpicklingError: oops"
        assert worker.reap(0.0) == "sent an invalid message (UnpicklingError: oops); killed"
        assert wait_until_gone([worker.pid]) == []

    def test_fork_server_killed(self, begin: Begin) -> None:
        """Without its fork server a worker works on; its status is unknown, so it is killed; others start."""
        worker = begin()
        listen(worker, bool)
        kill_fork_server()
        worker.inbox.send(ask("echo"))
        worked = len(of_kind(listen(worker, has(ManifestPushed)), ManifestPushed))
        os.kill(worker.pid, signal.SIGSTOP)
        status = worker.reap(10.0)
        left = wait_until_gone([worker.pid])
        assert (worked, status, left) == (1, "unknown: the fork server died; killed", [])
        assert listen(begin(), bool)

    def test_kill_without_fork_server(self, begin: Begin) -> None:
        """A worker whose fork server died can still be killed."""
        worker = begin()
        listen(worker, bool)
        kill_fork_server()
        worker.kill()
        hear_out(worker)
        assert wait_until_gone([worker.pid]) == []

    def test_no_processes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where no process can be had, the error names the worker and the reason."""
        ctx = context()

        def refuse(*, duplex: bool) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        monkeypatch.setattr(ctx, "Pipe", refuse, raising=False)
        with pytest.raises(MachineError, match=r"cannot start the worker resolve-1: .*Too many open files"):
            start(ctx)
