"""Play rounds: `python -m tests.chaos`; N=30 says how many, SEED=7 repeats one, JOBS=2 how many at a time.

A round in which nothing was delivered does not count and is replaced by another.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.play import play
from tests.chaos.rounds import rounds

if TYPE_CHECKING:
    from tests.chaos.play import Played


def line(played: Played) -> str:
    """One round in one line."""
    met = Counter(played.delivered)
    faults = ", ".join(f"{kind}" + (f" x{count}" if count > 1 else "") for kind, count in sorted(met.items()))
    ends = ",".join(map(str, played.codes))
    result = f"WRONG x{len(played.wrong)}" if played.wrong else "ok" if met else "void: nothing was delivered"
    return f"seed {played.seed} | {played.brief} | {faults} | exits {ends} | {played.seconds:.1f}s | {result}"


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
