"""Run a command and say what it and all its processes cost: wall time, CPU time, peak memory of each.

CPU is what the kernel charged each process when it was waited for. Processes that outlive their parent (the
workers of a fork server) are handed to this process (PR_SET_CHILD_SUBREAPER), so none is missed. Peaks are
the kernel's own high-water marks (VmHWM), read 20 times a second: only a process that lives for less than
that is missed, or the last growth of one that ends. Pages that processes share count in each of them there;
together (PSS, also read 20 times a second) they count once.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

_PR_SET_CHILD_SUBREAPER = 36
_PERIOD = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of one command."""

    status: int
    """Exit status; negative: the signal that ended it."""
    wall: float
    """Seconds."""
    cpu: float
    """Seconds, user and system, of all its processes."""
    peaks: list[tuple[str, int]]
    """(role of the process, peak of its resident memory in bytes), in the order of their start."""
    pss: int
    """Peak of the memory of all its processes at a time, in bytes; shared pages count once."""


def measure(command: Sequence[str], *, output: Path, folder: Path | None = None) -> Cost:
    """Run `command` in a session of its own to its end, and until the last of its processes has left.

    Args:
        command: program and arguments.
        output: file for its standard output and standard error.
        folder: its working folder; None: ours.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    began = time.monotonic()
    with output.open("wb") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
        )
    with _Sampler(process.pid) as sampler:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - began
        cpu = usage.ru_utime + usage.ru_stime + _wait_for_orphans(process.pid)
    return Cost(status=process.returncode, wall=wall, cpu=cpu, peaks=sampler.peaks(), pss=sampler.pss)


def _wait_for_orphans(group: int) -> float:
    """Wait for all processes of a group that were handed to us; returns their CPU seconds."""
    cpu = 0.0
    while True:
        try:
            _, _, usage = os.wait4(-group, 0)
        except ChildProcessError:
            return cpu
        cpu += usage.ru_utime + usage.ru_stime


class _Sampler:
    """Reads the high-water marks of all processes of a session until it is left."""

    def __init__(self, session: int) -> None:
        self._session = session
        self._command = b""
        """Of the session's leader; it may replace itself by another program, and end before the others."""
        self._found: dict[int, tuple[str, int]] = {}
        self.pss = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def peaks(self) -> list[tuple[str, int]]:
        return [self._found[pid] for pid in sorted(self._found)]

    def _run(self) -> None:
        while not self._end.wait(_PERIOD):
            pss = 0
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    pss += self._look(folder)
                except (OSError, ValueError):  # it ended while it was being read
                    continue
            self.pss = max(self.pss, pss)

    def _look(self, folder: Path) -> int:
        """A process's share of memory now; 0 if it is in another session."""
        # The fields after the name (which may contain spaces and brackets): state, parent, group, session.
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        if int(fields[3]) != self._session:
            return 0
        if int(folder.name) == self._session:
            self._command = (folder / "cmdline").read_bytes() or self._command
        peak = _kilobytes(folder / "status", "VmHWM:")
        if peak:
            pid = int(folder.name)
            # The first look determines the role: an orphan is handed to another parent later.
            role = self._found[pid][0] if pid in self._found else self._role(folder, int(fields[1]))
            self._found[pid] = (role, peak)
        return _kilobytes(folder / "smaps_rollup", "Pss:")

    def _role(self, folder: Path, parent: int) -> str:
        command = (folder / "cmdline").read_bytes()
        if int(folder.name) != self._session and command == self._command:
            return "fork server" if parent == self._session else "worker"
        return Path(os.fsdecode(command.partition(b"\0")[0])).name


def _kilobytes(file: Path, name: str) -> int:
    """A figure of a file in /proc, in bytes; 0 if it is missing, as for a process that is ending."""
    words = next((line.split() for line in file.read_text().splitlines() if line.startswith(name)), ["", "0"])
    return int(words[1]) * 1024
