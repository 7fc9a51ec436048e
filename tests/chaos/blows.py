"""The command as a victim: started in its own session, hit at some moment, then searched for leftovers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.e2e.command import children

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.chaos.crew import Crew

ROOT = Path(__file__).parents[2]
_GONE = 8.0
"""Seconds within which all processes of a finished run must be gone."""
_LONG_STOPS, _LONG_STOP = 0.8, 5.5
"""In seconds; every fifth stop lasts longer than a worker may be silent."""
_SIGNALS = {"INT": signal.SIGINT, "TERM": signal.SIGTERM, "HUP": signal.SIGHUP}


class Victim:
    """One run of the command."""

    def __init__(
        self, folder: Path, flags: Sequence[str], *, crew: Crew, hurried: bool, descriptors: int
    ) -> None:
        """Prepare a run.

        Args:
            folder: the working directory.
            flags: the command's flags.
            crew: who runs its tasks.
            hurried: whether to use short limits.
            descriptors: the limit of open files; 0: as in this process.
        """
        self._folder, self._crew = folder, crew
        limit = ["prlimit", f"--nofile={descriptors}:{descriptors}"] if descriptors else []
        module = "tests.chaos.hurried" if hurried else "pipeline"
        self._command = [*limit, sys.executable, "-m", module, *flags, *crew.flags]
        self._lock = threading.Lock()
        self._timers: list[threading.Timer] = []
        self.struck: list[str] = []
        """The blows that actually happened."""
        self.text = ""
        """Its standard output and standard error."""
        self.pid = 0

    def __enter__(self) -> Self:
        """Start the run."""
        environ = {"PATH": os.environ["PATH"], "HOME": str(self._folder), "PYTHONPATH": str(ROOT)}
        with self._lock, (self._folder / "said.txt").open("ab") as said:
            self._began = said.tell()
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=environ, stdin=subprocess.DEVNULL,
                stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip
            self.pid = self._process.pid
        return self

    def __exit__(self, *_: object) -> None:
        """Continue all stopped processes; `sessions_left` finds those that remain."""
        for timer in self._timers:
            timer.cancel()
        _send(session(self.pid), signal.SIGCONT)

    def wait(self, seconds: float) -> int:
        """The exit code, or -999 if the run did not end and was killed."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            _send([self.pid], signal.SIGCONT)
            _send(self._crew.workers(self.pid), signal.SIGABRT)
            time.sleep(0.5)
            _send([*children(self.pid), self.pid], signal.SIGKILL)
            self._process.wait()
            code = -999
        with self._lock, (self._folder / "said.txt").open("rb") as said:
            said.seek(self._began)
            self.text = said.read().decode(errors="replace")
        return code

    def strike(self, kind: str, choice: float) -> None:
        """Strike it as `kind` says; `choice` from 0 to 1 selects one of its workers."""
        with self._lock:
            if not self.pid or self._process.poll() is not None:
                return
            mine, below = self._crew.workers(self.pid), list(children(self.pid))
            one = sorted(mine)[int(choice * len(mine)) :][:1]
        if self._crew.strike(kind, choice):
            self.struck.append(kind)
            return
        whom, number = self._aim(kind, one=one, mine=mine, below=below)
        if not whom:
            return
        _send(whom, number)
        self.struck.append(kind)
        if kind == "INT twice":
            self._later(0.4, [self.pid], signal.SIGINT)
        elif kind in ("STOP worker", "STOP all"):
            self._later(0.2 + choice if choice < _LONG_STOPS else _LONG_STOP, whom, signal.SIGCONT)

    def _aim(
        self, kind: str, *, one: list[int], mine: list[int], below: list[int]
    ) -> tuple[list[int], signal.Signals]:
        match kind:
            case "worker" | "workers":
                return (one if kind == "worker" else mine), signal.SIGKILL
            case "fork server":
                return [pid for pid in below if _parent(pid) == self.pid], signal.SIGKILL
            case "supervisor":
                return [self.pid], signal.SIGKILL
            case "everything":
                return [*below, *mine, self.pid], signal.SIGKILL
            case "STOP worker" | "STOP worker for good":
                return one, signal.SIGSTOP
            case "STOP all":
                return [self.pid, *below], signal.SIGSTOP
            case "INT to all":
                return [self.pid, *below], signal.SIGINT
        return [self.pid], _SIGNALS[kind.split(maxsplit=1)[0]]

    def _later(self, seconds: float, whom: list[int], number: signal.Signals) -> None:
        def send() -> None:
            if self._process.poll() is None:
                _send(whom, number)

        timer = threading.Timer(seconds, send)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()


def _send(whom: Iterable[int], number: signal.Signals) -> None:
    for pid in whom:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def session(pid: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == pid and fields[0] not in "ZX":
                found.append(int(stat.parent.name))
    return found


def sessions_left(pid: int) -> list[str]:
    """The remaining processes of a run; they are killed."""
    end = time.monotonic() + _GONE
    while left := session(pid):
        if time.monotonic() > end:
            _send(left, signal.SIGKILL)
            return [f"{len(left)} processes were left behind"]
        time.sleep(0.02)
    return []
