"""Play rounds: `python -m tests.chaos`; N=30 says how many, SEED=7 repeats one, JOBS=2 how many at a time.

A round in which nothing was delivered does not count and is replaced by another.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.play import play

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.play import Played


def line(played: Played) -> str:
    """One round in one line."""
    met = Counter(played.delivered)
    faults = ", ".join(f"{kind}" + (f" x{count}" if count > 1 else "") for kind, count in sorted(met.items()))
    ends = ",".join(map(str, played.codes))
    result = f"WRONG x{len(played.wrong)}" if played.wrong else "ok" if met else "void: nothing was delivered"
    return f"seed {played.seed} | {played.brief} | {faults} | exits {ends} | {played.seconds:.1f}s | {result}"


def _end_with_parent() -> None:
    """Whoever kills the command kills its players: without it they would wait for ever for a round."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def rounds(count: int, jobs: int, folder: Path, first: int) -> Iterator[Played]:
    """Play so many rounds that count, from this seed on."""
    seed, counted = first, 0
    running: set[Future[Played]] = set()
    with ProcessPoolExecutor(jobs, get_context("spawn"), _end_with_parent) as pool:
        while counted < count:
            while len(running) < min(jobs, count - counted):
                running.add(pool.submit(play, seed, folder / str(seed)))
                seed += 1
            over, running = wait(running, return_when=FIRST_COMPLETED)
            for future in over:
                counted += bool(future.result().delivered or future.result().wrong)
                yield future.result()
        for future in running:
            future.cancel()


def main() -> int:
    """Play, print, and say how it went; returns the exit code."""
    folder = Path(os.environ.get("CHAOS_FOLDER") or tempfile.mkdtemp(prefix="chaos-"))
    chosen = os.environ.get("SEED", "")
    count = 1 if chosen else int(os.environ.get("N") or 30)
    jobs = 1 if chosen else int(os.environ.get("JOBS") or 2)
    first = int(chosen) if chosen else int(os.environ.get("FIRST") or secrets.randbelow(1 << 31))
    began, failed, counted, faults, codes = time.monotonic(), [], 0, 0, Counter[int]()
    source = [play(first, folder / str(first))] if chosen else rounds(count, jobs, folder, first)
    for played in source:
        print(line(played), flush=True)  # noqa: T201  this is what it is for
        counted += bool(played.delivered)
        faults += len(played.delivered)
        codes.update(played.codes)
        if played.wrong:
            failed.append(played.seed)
            for each in played.wrong[:12]:
                print(f"    {each}", flush=True)  # noqa: T201  likewise
            print(f"    again: make chaos SEED={played.seed}    its folder: {folder / str(played.seed)}")  # noqa: T201  likewise
    ends = ", ".join(f"{code}: {number}" for code, number in sorted(codes.items()))
    print(  # noqa: T201  likewise
        f"{counted} rounds counted, {faults} faults delivered, exit codes {ends}; {len(failed)} wrong"
        f"{': seeds ' + ' '.join(map(str, failed)) if failed else ''}; {time.monotonic() - began:.0f}s"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
