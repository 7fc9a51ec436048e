"""Play rounds: `python -m tests.chaos`; N=30 says how many, SEED=7 repeats one, JOBS=2 how many at a time.

A round in which nothing was delivered does not count and is replaced by another. FIRST=1 says with which seed
they begin; CALM=1 plays the rounds without all that goes wrong, for comparison. ENGINE=dask has workers
of a Dask cluster run the tasks, and strikes that cluster too; ENGINE=cut cuts links, see cut.py.
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

from tests.chaos import cut
from tests.chaos.play import play
from tests.chaos.rounds import rounds
from tests.chaos.tally import Tally

if TYPE_CHECKING:
    from tests.chaos.play import Played


def line(played: Played) -> str:
    """One line about a round."""
    met = Counter(played.delivered)
    faults = ", ".join(f"{kind}" + (f" x{count}" if count > 1 else "") for kind, count in sorted(met.items()))
    ends = ",".join(map(str, played.codes))
    result = f"WRONG x{len(played.wrong)}" if played.wrong else "ok" if met else "void: nothing was delivered"
    cost = f"{played.requests} requests, {played.seconds:.1f}s"
    return f"seed {played.seed} | {played.brief} | {faults} | exits {ends} | {cost} | {result}"


def main() -> int:
    """Play, print and report; returns the exit code."""
    folder = Path(os.environ.get("CHAOS_FOLDER") or tempfile.mkdtemp(prefix="chaos-"))
    chosen, calm = os.environ.get("SEED", ""), bool(os.environ.get("CALM"))
    engine = os.environ.get("ENGINE") or "local"
    if engine == "cut":
        return cut.main(_say)
    count = 1 if chosen else int(os.environ.get("N") or 30)
    jobs = 1 if chosen else int(os.environ.get("JOBS") or 2)
    first = int(chosen) if chosen else int(os.environ.get("FIRST") or secrets.randbelow(1 << 31))
    of_engine = f"ENGINE={engine} " * (engine != "local")
    began, tally = time.monotonic(), Tally()
    chosen_one = (play(first, folder / str(first), calm=calm, engine=engine) for _ in range(1))
    for played in chosen_one if chosen else rounds(count, jobs, folder, first, calm=calm, engine=engine):
        _say(line(played))
        tally.add(played)
        for each in played.wrong[:12]:
            _say(f"    {each}")
        if played.wrong:
            again = f"make chaos {of_engine}SEED={played.seed}"
            _say(f"    again: {again}    its folder: {folder / str(played.seed)}")
    for each in () if chosen else tally.lines():
        _say(each)
    seeds = f": seeds {' '.join(map(str, tally.failed))}" if tally.failed else ""
    _say(
        f"{tally.counted} rounds counted from seed {first} on, {tally.faults} faults delivered,"
        f" {tally.requests} requests, {len(tally.failed)} wrong{seeds}; {time.monotonic() - began:.0f}s"
    )
    return 1 if tally.failed else 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  this is what it is for


if __name__ == "__main__":
    sys.exit(main())
