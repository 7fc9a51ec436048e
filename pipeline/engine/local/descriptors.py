"""Open files: as many as this account may have, and no more threads than they carry.

A worker's threads have connections to every registry that they have asked. Without a limit of our own the
thread that meets the machine's would take it for a registry that cannot be reached.
"""

from __future__ import annotations

import resource

from pipeline.errors import MachineError

_LEAST = 48
"""Without which the records, the pipes of the workers and one connection for each of them do not fit."""
_MOST = 1 << 16
"""More serve nobody, and make programs slow that close all that they might have been handed."""
_OWN = 32
"""What a process has open beside its connections."""
_PER_THREAD = 6
"""Both registries of a copy, their storage and their token servers."""


def claim_descriptors() -> None:
    """Raise this process's limit as far as it may; what is started from here on inherits it.

    Raises:
        MachineError: it may have too few.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if 0 <= soft < _LEAST:
        raise MachineError(f"{soft} open files are too few: at least {_LEAST} are needed (see ulimit -n)")


def affordable_threads() -> int:
    """How many threads of one worker the limit carries; one at least."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else max(1, (soft - _OWN) // _PER_THREAD)
