"""The process that starts workers: it has imported what they need, so a worker is ready in milliseconds.

Workers are never forked from the supervisor: they would inherit its ends of other workers' pipes, and no
worker would see end-of-file when the supervisor is killed. The server itself is, but before there are pipes,
threads or secrets; one that replaces it is a new interpreter. The supervisor and the fork server share a
socket. A worker's two pipe ends go one way; its pid, and later its exit status, come back. The supervisor
never waits for the server, which may still be importing, or be stopped. Settings and credentials go through
the worker's own pipe.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from pipeline.engine.descriptors import claim_descriptors
from pipeline.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.engine.local.process import WorkerProcess

    Method = Literal["fork", "spawn"]

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Signals for the supervisor, which a terminal sends to all processes."""
METHOD: Method = "fork" if sys.platform.startswith("linux") else "spawn"
"""Elsewhere the system's libraries may not survive a fork."""
_REPORT = struct.Struct("!ii")
"""A pid and a wait status; pid 0: no process could be started, the status is an errno."""
_STARTED = -1
"""In place of a wait status: the process has been started."""
_STOP_TAKES = 1.0
"""Seconds to wait for the server's exit before it is killed."""


class ForkServer:
    """The supervisor's side."""

    def __init__(self, method: Method = METHOD, *, early: bool = False) -> None:
        """Start the process; does not wait until it is ready.

        Args:
            method: how it starts workers.
            early: fork it from this process, which has one thread and has read no file yet.

        Raises:
            MachineError: it cannot be started, or this process may have too few files open.
        """
        claim_descriptors()
        self.dead = False
        """Whether it is gone; then exit statuses of its workers stay unknown."""
        self._starting: deque[WorkerProcess] = deque()
        self._running: dict[int, WorkerProcess] = {}
        with ExitStack() as undo:
            try:
                self._socket, theirs = socket.socketpair()
                undo.callback(self._socket.close)
                with theirs:
                    if early and method == "fork":
                        self.pid = _fork(self._socket, theirs)
                    else:
                        self.pid = _launch(
                            f"fork_server import main; main({method!r})", stdin=theirs.fileno()
                        )
            except OSError as error:
                raise MachineError(f"no workers can be started: {error.strerror or error}") from error
            undo.pop_all()
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """For a selector: readable when `hear` has something to do."""
        return self._socket.fileno()

    def start(self, worker: WorkerProcess, *, inbox: int, outbox: int) -> None:
        """Ask for a process with these pipe ends, which the caller closes; the worker is told its pid."""
        self._starting.append(worker)
        try:
            socket.send_fds(self._socket, [b"+"], [inbox, outbox])
        except OSError:
            self._lose_all()

    def hear(self) -> None:
        """Tell the workers what became of them; never blocks."""
        while not self.dead:
            try:
                received = self._socket.recv(_REPORT.size * 64)
            except BlockingIOError:
                return
            except OSError:
                received = b""
            # Reports are sent whole, and far fewer than fill the socket.
            for pid, status in _REPORT.iter_unpack(received):
                self._tell(pid, status)
            if not received:
                self._lose_all()

    def _tell(self, pid: int, status: int) -> None:
        if status == _STARTED:
            worker = self._running[pid] = self._starting.popleft()
            worker.started(pid)
        elif pid:
            self._running.pop(pid).exited(os.waitstatus_to_exitcode(status))
        else:
            self._starting.popleft().failed(f"cannot be started: {os.strerror(status)}")

    def _lose_all(self) -> None:
        """The server died: what has not been started never will be, and other exit statuses stay unknown."""
        self.dead = True
        for worker in self._starting:
            worker.failed("cannot be started: the fork server died")
        self._starting.clear()
        self._running.clear()

    def wait(self, until: Callable[[], object], timeout: float) -> None:
        """Hear until that holds, for so many seconds at most."""
        end = time.monotonic() + timeout
        self.hear()
        while not until() and not self.dead and (left := end - time.monotonic()) > 0:
            select.select([self._socket], [], [], left)
            self.hear()

    def stop(self) -> None:
        """End the process, and wait for it. May be called twice."""
        if self.fileno() < 0:
            return
        self._socket.close()
        self.dead = True
        end = time.monotonic() + _STOP_TAKES
        with suppress(ChildProcessError):
            while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                if time.monotonic() >= end:
                    os.kill(self.pid, signal.SIGKILL)
                    os.waitpid(self.pid, 0)
                    return
                time.sleep(0.001)


_warm: list[ForkServer] = []
"""The server that a pool will take."""


def warm_up() -> None:
    """Fork a server, which imports what workers need while this process reads its files.

    To be called before these are read and before any thread is started.

    Raises:
        MachineError: see ForkServer.
    """
    if not _warm:
        _warm.append(ForkServer(early=True))


def take_server() -> ForkServer:
    """The server that was started ahead, or a new one.

    Raises:
        MachineError: see ForkServer.
    """
    return _warm.pop() if _warm else ForkServer()


def _launch(what: str, *, stdin: int) -> int:
    """Start an interpreter that imports from this package; signals for the supervisor stay blocked there."""
    # With our own path: -c would put the working folder in front, whose files must not stand for modules.
    path = [*filter(None, sys.path), str(Path(__file__).parents[3])]
    code = f"import sys; sys.path[:] = {path!r}; from pipeline.engine.local.{what}"
    actions = [(os.POSIX_SPAWN_DUP2, stdin, 0)]
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", code],
        os.environ,
        file_actions=actions,
        setsigmask=IGNORED,
        setsigdef=[signal.SIGCHLD],
    )


def _fork(ours: socket.socket, theirs: socket.socket) -> int:
    """Continue as the server in a fork of this process, which saves the start of Python and its imports."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid
    try:
        ours.close()
        os.dup2(theirs.fileno(), 0)
        theirs.close()
        main("fork")
    finally:
        os._exit(1)


def main(method: Method) -> NoReturn:
    """The server's process: standard input is the socket."""
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    try:
        if method == "fork":
            import pipeline.engine.local.worker  # noqa: PLC0415 - not in the supervisor
            import pipeline.stages.run  # noqa: F401, PLC0415 - for the workers that are forked from here
    except ImportError:
        pass  # Also without memory for a library; each worker imports again, and reports it.
    except (MemoryError, SystemError):
        # The supervisor reports it. SystemError: the importer had no memory for its own error.
        os._exit(1)
    gc.freeze()
    with suppress(OSError):
        _ForkingProcess(control, method).serve()
    os._exit(0)


class _ForkingProcess:
    def __init__(self, control: socket.socket, method: Method) -> None:
        self._control, self._method = control, method
        self._exits, self._wakeup = os.pipe()
        os.set_blocking(self._wakeup, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Until the supervisor is gone."""
        while True:
            control = self._control.fileno()
            readable, _, _ = select.select([control, self._exits], [], [])
            if self._exits in readable:
                os.read(self._exits, 4096)
                self._report_exits()
            if control in readable:
                asked, ends, _, _ = socket.recv_fds(self._control, 1, 2)
                if not asked:
                    return
                self._start(*ends)

    def _start(self, inbox: int, outbox: int) -> None:
        try:
            pid = self._fork(inbox, outbox) if self._method == "fork" else _spawn(inbox, outbox)
        except OSError as error:
            self._control.sendall(_REPORT.pack(0, error.errno or 0))
        else:
            self._control.sendall(_REPORT.pack(pid, _STARTED))
        for end in (inbox, outbox):
            os.close(end)

    def _fork(self, inbox: int, outbox: int) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                self._control.close()
                os.close(self._exits)
                os.close(self._wakeup)
                from pipeline.engine.local.worker import main as work  # noqa: PLC0415 - not in the supervisor

                work(inbox, outbox)
            finally:
                os._exit(1)
        return pid

    def _report_exits(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                self._control.sendall(_REPORT.pack(pid, status))


def _spawn(inbox: int, outbox: int) -> int:
    for end in (inbox, outbox):
        os.set_inheritable(end, True)
    return _launch(f"worker import main; main({inbox}, {outbox})", stdin=0)
