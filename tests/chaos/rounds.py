"""Plays many rounds, several at a time, in processes that end with the command.

This is a separate module because a new process cannot import functions from a module run with `-m`.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context, parent_process
from typing import TYPE_CHECKING

from tests.chaos.play import play

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.chaos.play import Played


def rounds(count: int, jobs: int, folder: Path, first: int, *, calm: bool, engine: str) -> Iterator[Played]:
    """Play this many rounds that count, starting at this seed; calm rounds, without faults, all count."""
    seed, counted = first, 0
    running: set[Future[Played]] = set()
    with ProcessPoolExecutor(jobs, get_context("spawn"), _end_with_parent) as pool:
        while counted < count:
            while len(running) < min(jobs, count - counted):
                running.add(pool.submit(play, seed, folder / str(seed), calm=calm, engine=engine))
                seed += 1
            over, running = wait(running, return_when=FIRST_COMPLETED)
            for future in over:
                counted += bool(calm or future.result().delivered or future.result().wrong)
                yield future.result()
        for future in running:
            future.cancel()


def _end_with_parent() -> None:
    """The players die with the command; otherwise they would wait for rounds forever."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
