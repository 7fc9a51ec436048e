from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.engine.local.fork_server import ForkServer
from pipeline.engine.local.process import start_worker, stop_all
from pipeline.engine.worker import Setup
from pipeline.errors import MachineError
from pipeline.model.messages import BytesTransferred, ManifestFetched, ManifestPushed, PushManifest
from pipeline.model.reference import Reference, Repository
from pipeline.settings import MAX_MANIFEST, Settings
from tests.engine.harness import PATIENCE, descriptors, hear_out, listen, of_kind, start, wait_until_gone
from tests.engine.runners import PLAIN, ask
from tests.engine.test_worker import has

if TYPE_CHECKING:
    from pipeline.engine.local.process import WorkerProcess
    from tests.engine.test_worker import Begin


ROOT = Path(__file__).parents[2]
SETUP = Setup(stage="resolve", threads=2, settings=Settings(), keyring=None, runner=PLAIN)


def kill(server: ForkServer) -> None:
    """Kill it and wait for its end."""
    os.kill(server.pid, signal.SIGKILL)
    server.wait(lambda: False, PATIENCE)
    assert server.dead


def wait_for_bytes(worker: WorkerProcess) -> None:
    """Wait until a worker's outbox is readable; it is not read."""
    assert select.select([worker.outbox], [], [], 30.0)[0]


class TestDeath:
    def test_killed_worker_does_not_disturb_siblings(self, begin: Begin, any_server: ForkServer) -> None:
        """A worker killed while it waits for a task does not disturb its siblings."""
        dead, alive = begin(any_server), begin(any_server)
        listen(dead, bool)
        os.kill(dead.pid, signal.SIGKILL)
        hear_out(dead)
        alive.inbox.send(ask("echo"))
        assert len(of_kind(listen(alive, has(ManifestPushed)), ManifestPushed)) == 1

    def test_answers_are_read_before_the_end(self, begin: Begin, any_server: ForkServer) -> None:
        """The answers of a killed worker are read before the end of its outbox."""
        worker = begin(any_server, threads=1)
        for word in ("echo 1", "echo 2", "die", "echo 3"):
            worker.inbox.send(ask(word))
        heard = hear_out(worker)
        assert [ask("echo 1").key, ask("echo 2").key] == [
            stored.key for stored in of_kind(heard, ManifestPushed)
        ]

    def test_sending_to_dead_worker_raises_nothing(self, begin: Begin) -> None:
        """Sending to a dead worker raises nothing and keeps nothing."""
        worker = begin()
        listen(worker, bool)
        worker.kill()
        reader = select.poll()
        reader.register(worker.inbox, 0)
        gone = reader.poll(30_000)
        worker.inbox.send(ask("echo"))
        assert (len(gone), worker.inbox.broken, worker.inbox.pending) == (1, True, False)

    def test_worker_stopped_mid_answer_blocks_nothing(self, begin: Begin) -> None:
        """A worker stopped in the middle of a large answer blocks neither reading nor writing."""
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

    def test_stopped_worker_can_be_killed(self, begin: Begin) -> None:
        """A stopped worker can be killed, and its incomplete answer is dropped."""
        worker = begin(threads=1)
        listen(worker, bool)
        worker.inbox.send(ask("big"))
        wait_for_bytes(worker)
        os.kill(worker.pid, signal.SIGSTOP)
        worker.kill()
        assert (of_kind(hear_out(worker), ManifestFetched), worker.reap(10.0)) == ([], "killed by SIGKILL")


class TestExit:
    def test_busy_worker_exits_when_inbox_closes(self, begin: Begin, any_server: ForkServer) -> None:
        """A worker exits when its inbox is closed, although its threads run and a sibling started later."""
        worker = begin(any_server)
        begin(any_server)
        worker.inbox.send(ask("move"))
        listen(worker, has(BytesTransferred))
        worker.inbox.close()
        hear_out(worker)
        assert worker.reap(10.0) == "exit status 0"

    def test_stopping_all_leaves_no_process(self, server: ForkServer) -> None:
        """Stopping all workers ends each, kills those that stay, and leaves no process or descriptor."""
        before = descriptors()
        workers = [start(server, name=f"resolve-{number}") for number in range(3)]
        listen(workers[1], bool)
        os.kill(workers[1].pid, signal.SIGSTOP)
        ends = stop_all(workers, timeout=1.0)
        assert ends == ["exit status 0", "did not exit; killed", "exit status 0"]
        assert (before, []) == (descriptors(), wait_until_gone([w.pid for w in workers]))

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
    def test_worker_ignores_supervisor_signals(
        self, begin: Begin, any_server: ForkServer, number: int
    ) -> None:
        """A worker ignores the signals meant for the supervisor."""
        worker = begin(any_server)
        listen(worker, bool)
        os.kill(worker.pid, number)
        worker.inbox.send(ask("echo"))
        assert len(of_kind(listen(worker, has(ManifestPushed)), ManifestPushed)) == 1


class TestStatus:
    @pytest.mark.parametrize(
        ("word", "status"), [("die", "killed by SIGKILL; perhaps out of memory"), ("exit", "exit status 3")]
    )
    def test_exit_status_is_described(
        self, begin: Begin, any_server: ForkServer, word: str, status: str
    ) -> None:
        """A worker's exit status is described in words, and no zombie is left."""
        worker = begin(any_server)
        worker.inbox.send(ask(word))
        hear_out(worker)
        assert (status, status, []) == (worker.reap(10.0), worker.reap(10.0), wait_until_gone([worker.pid]))
        with pytest.raises(ChildProcessError):
            os.waitpid(worker.pid, os.WNOHANG)

    def test_deliberate_kill_is_not_out_of_memory(self, begin: Begin, any_server: ForkServer) -> None:
        """A worker that was killed on purpose is not reported as out of memory."""
        worker = begin(any_server)
        worker.kill()
        hear_out(worker)
        assert worker.reap(10.0) == "killed by SIGKILL"

    def test_worker_with_unreadable_outbox_is_killed(self, begin: Begin) -> None:
        """A worker whose outbox cannot be read is killed, and the status says why."""
        worker = begin()
        listen(worker, bool)
        worker.outbox.at_end, worker.outbox.error = True, "UnpicklingError: oops"
        assert worker.reap(0.0) == "sent an invalid message (UnpicklingError: oops); killed"
        assert wait_until_gone([worker.pid]) == []

    def test_status_is_unknown_without_fork_server(self, begin: Begin, server: ForkServer) -> None:
        """Without its fork server a worker continues; when it ends, its status is unknown."""
        worker = begin()
        listen(worker, bool)
        kill(server)
        worker.inbox.send(ask("echo"))
        worked = len(of_kind(listen(worker, has(ManifestPushed)), ManifestPushed))
        os.kill(worker.pid, signal.SIGSTOP)
        status = worker.reap(10.0)
        left = wait_until_gone([worker.pid])
        assert (worked, status, left) == (1, "unknown: the fork server died; killed", [])

    def test_kill_without_fork_server(self, begin: Begin, server: ForkServer) -> None:
        """A worker whose fork server died can still be killed."""
        worker = begin()
        listen(worker, bool)
        kill(server)
        worker.kill()
        hear_out(worker)
        assert wait_until_gone([worker.pid]) == []

    def test_start_without_fork_server(self, server: ForkServer) -> None:
        """A worker fails to start from a dead fork server, whether the death was already noticed or not."""
        os.kill(server.pid, signal.SIGSTOP)
        early = start_worker(server, "resolve-1", SETUP)
        kill(server)
        late = start_worker(server, "resolve-2", SETUP)
        reasons = [worker.reap(0.0) for worker in (early, late)]
        assert reasons == ["cannot be started: the fork server died"] * 2
        assert [early.pid, late.pid] == [0, 0]

    def test_killed_before_it_is_started(self, server: ForkServer) -> None:
        """A worker that is killed before its process exists dies as soon as it does."""
        os.kill(server.pid, signal.SIGSTOP)
        worker = start_worker(server, "resolve-1", SETUP)
        worker.kill()
        os.kill(server.pid, signal.SIGCONT)
        server.wait(lambda: worker.status, PATIENCE)
        assert worker.status == "killed by SIGKILL"
        worker.reap(0.0)

    def test_failed_pipe_names_worker_and_reason(
        self, server: ForkServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If no pipe can be created, the error names the worker and the reason."""

        def refuse() -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        monkeypatch.setattr(os, "pipe", refuse)
        with pytest.raises(MachineError, match=r"cannot start the worker resolve-1: .*Too many open files"):
            start(server)

    def test_failed_process_start_is_reported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """If no process can be created, the error says so."""
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        with pytest.raises(MachineError, match="no workers can be started: No such file"):
            ForkServer()

    def test_working_folder_is_not_imported(self, tmp_path: Path) -> None:
        """A worker imports no modules from the working folder."""
        (tmp_path / "struct.py").write_text("raise SystemExit(3)")
        code = (
            "from pipeline.engine.local.fork_server import ForkServer\n"
            "from tests.engine.harness import listen, start\n"
            "worker = start(ForkServer())\n"
            "print(listen(worker, bool))"
        )
        command = [sys.executable, "-P", "-c", f"import sys; sys.path.append({str(ROOT)!r})\n{code}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert (done.stdout, done.stderr) == ("[Alive()]\n", "")
