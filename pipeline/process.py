"""The identity of a process, and whether it has ended: a pid alone may belong to another one."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from pipeline.dataclass import dataclass

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of one machine, distinct from all before and after it."""

    host: str = ""
    pid: int = 0
    space: str = ""
    """The boot of the machine and the PID namespace; empty: unknown."""
    start: str = ""
    """Its start time as the kernel counts it; empty: unknown."""


def this_process() -> Process:
    """The calling process."""
    return Process(host=socket.gethostname(), pid=os.getpid(), space=_space(), start=_start(os.getpid()))


def is_gone(process: Process) -> bool | None:
    """Whether the process has ended; None: unknown from here."""
    if not process.space or process.space != _space():
        return None
    return _start(process.pid) != process.start


def _space() -> str:
    """The boot of this machine, and the PID namespace."""
    with suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    return ""


def _start(pid: int) -> str:
    """When the process started, in ticks since boot (proc(5), stat, field 22); empty if there is none.

    A zombie has none either.
    """
    with suppress(OSError):
        after_name = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return "" if after_name[0] in ("Z", "X") else after_name[19]
    return ""
