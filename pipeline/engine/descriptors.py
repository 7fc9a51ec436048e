"""The limit of open files: raise it, and derive the number of threads from it.

A worker's threads have connections to all registries that they use. Without this limit, a thread that runs
out of descriptors would report an unreachable registry.
"""

from __future__ import annotations

import resource

from pipeline.errors import MachineError

_LEAST = 48
"""Minimum for the records, the workers' pipes and one connection for each worker."""
_MOST = 1 << 16
"""More is useless, and slows down programs that close all possible descriptors."""
_OWN = 32
"""Open files of a process other than connections."""
_PER_THREAD = 6
"""Connections: both registries of a copy, their storage and token servers."""


def claim_descriptors() -> None:
    """Raise this process's limit as far as allowed; child processes inherit it.

    Raises:
        MachineError: the limit is too low.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if 0 <= soft < _LEAST:
        raise MachineError(f"{soft} open files are too few: at least {_LEAST} are needed (see ulimit -n)")


def affordable_threads() -> int:
    """The threads of one worker that the limit allows; at least one."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else max(1, (soft - _OWN) // _PER_THREAD)
