"""The command with short limits: `python -m tests.chaos.hurried` takes the same flags.

With the real limits a round would take minutes. Nothing else is changed.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from pipeline import settings
from pipeline.cli import main
from pipeline.commands import job
from pipeline.engine import supervisor, worker
from pipeline.engine.dask import guest
from pipeline.engine.local import handle, pool
from pipeline.registry import faults, upload
from pipeline.scheduler import backoff
from pipeline.stages.run import make_runner  # noqa: F401 - for workers
from tests.e2e.small import replace_in

# Imported here, since workers import this module for its make_runner.
replace_in(faults, _NO_PAUSE_GIVEN=1.0)
replace_in(upload, _COMMIT_POLLS=(0.1, 0.3, 0.6))
replace_in(guest, ABANDONED=3.0)


def hurry(**given: Any) -> settings.Settings:
    """Settings from the flags, with limits of seconds and with small chunks."""
    return settings.Settings(
        **given,
        silence=4.5,
        timeouts=settings.Timeouts(connect=2.0, read=2.5, send=3.0, commit=3.5, stall=2.5),
        retry=settings.Retry(base=0.05, waiting=1.0),
        uploads=settings.Uploads(above=30_000, chunk=10_000),
    )


if __name__ == "__main__":
    replace_in(job, Settings=hurry)
    replace_in(backoff, _ASKED_AGAIN=1.0)
    replace_in(supervisor, _MAX_WAIT=0.3)
    setup = partial(worker.Setup, runner="tests.chaos.hurried:make_runner")
    replace_in(pool, _CHECK_EVERY=0.3, _SUSPENDED=2.0, Setup=setup)
    replace_in(handle, _ABORT_TAKES=0.3)
    if "--engine=dask" in sys.argv:
        # Only then: they import Dask.
        from pipeline.engine.dask import link
        from pipeline.engine.dask import pool as dask_pool

        replace_in(link, RECONNECT=20.0, _BUSY_EVERY=0.5)
        replace_in(dask_pool, _CHECK_EVERY=0.3, _SUSPENDED=2.0, FENCE=8.0, Setup=setup)
    main.run()
