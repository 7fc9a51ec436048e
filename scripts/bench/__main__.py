"""Measure copying between real registries beside what else can be had for it, and judge the goals.

Requests and bytes are counted in the registries' access logs, so nothing that a client says of itself is
believed; every tag is checked after every run. Clients take turns, each cold run has new destinations.

    python -m scripts.bench many shared --rounds 5
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from compileall import compile_dir
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.bench import extra
from scripts.bench.cases import CASES, DEFAULT, EXTRA
from scripts.bench.clients import ROOT, clients
from scripts.bench.course import Course
from scripts.bench.listings import listings
from scripts.bench.pushback import pushback
from scripts.bench.rates import rates
from scripts.bench.report import as_json, head, report
from scripts.bench.scale import scale
from tests.real.tools import advice, missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.bench.cases import Case
    from scripts.bench.clients import Client
    from scripts.bench.course import Run


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure image-syncer beside others on real registries.")
    known = (*EXTRA, *CASES)
    parser.add_argument(
        "cases", nargs="*", default=DEFAULT, help=f"of {', '.join(known)}; if none: {', '.join(DEFAULT)}"
    )
    parser.add_argument("--rounds", type=int, default=2, help="runs of each client (2); medians are shown")
    parser.add_argument("--alone", action="store_true", help="no skopeo, crane, regsync")
    parser.add_argument("--peer", default="", help="one more command, which takes image-syncer's flags")
    for size, what in (
        ("repos", "repositories"),
        ("tags", "tags per repository"),
        ("layer-kb", "kB per layer"),
    ):
        parser.add_argument(f"--{size}", type=int, help=f"{what}, in place of each case's own")
    parser.add_argument("--json", type=Path, default=Path("bench-results.json"), help="where figures go")
    flags = parser.parse_args()
    if unknown := set(flags.cases) - set(known):
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return flags


def _sized(case: Case, flags: argparse.Namespace) -> Case:
    """The case with the sizes from the command line."""
    sizes = {name: getattr(flags, name) for name in ("repos", "tags", "layer_kb")}
    given = {name: size for name, size in sizes.items() if size is not None}
    return replace(case, corpus=replace(case.corpus, **given)) if given else case


def _run(name: str, case: Case, taking_part: Sequence[Client], rounds: int) -> list[Run]:
    print(f"\n== {name}: {head(case)}", flush=True)
    with ExitStack() as resources:
        course = Course(name, case, resources)
        if words := course.ceiling():
            print(words, flush=True)
        runs = course.run(taking_part, rounds=rounds)
    print(report(case, runs), flush=True)
    return runs


def _on_cluster(cases: Sequence[str]) -> dict[str, Any]:
    from scripts.bench.cluster import cluster, visits  # noqa: PLC0415 - needs the extra [dask]

    figures: dict[str, Any] = {}
    if "cluster" in cases:
        print("\n== cluster: CPU time a task on a Dask cluster")
        figures["cluster"] = cluster()
    if "visits" in cases:
        print("\n== visits: memory of Dask's scheduler")
        figures["visits"] = visits()
    return figures


def main() -> None:
    """Run the cases that the command line names."""
    flags = _parse()
    if absent := missing():
        raise SystemExit(advice(absent))
    compile_dir(ROOT / "pipeline", quiet=1)  # as an installation does
    taking_part = clients(peer=flags.peer, alone=flags.alone)
    print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.platform()};"
        f" {', '.join(client.name for client in taking_part)}; medians of {flags.rounds} runs"
    )
    cases = {name: _sized(CASES[name], flags) for name in flags.cases if name in CASES}
    figures: dict[str, Any] = {}
    if "pushback" in flags.cases:
        print("\n== pushback: the scheduler in virtual time")
        figures["pushback"] = pushback()
    if "rates" in flags.cases:
        print("\n== rates: by the registry's log")
        figures["rates"] = rates()
    if "scale" in flags.cases:
        print("\n== scale: one run for many machines, in virtual time")
        figures["scale"] = scale()
    if {"cluster", "visits"} & set(flags.cases):
        figures |= _on_cluster(flags.cases)
    if "listings" in flags.cases:
        print("\n== listings: unchanged, with and without listings of digests, at scripted registries")
        figures["listings"] = listings()
    if "start" in flags.cases:
        print("\n== start")
        figures["start"] = extra.start(flags.rounds)
    runs = [run for name, case in cases.items() for run in _run(name, case, taking_part, flags.rounds)]
    if "tags" in flags.cases:
        print("\n== tags: unchanged, at scripted registries")
        figures["tags"] = extra.tags(clients(peer=flags.peer, alone=True))
    flags.json.write_text(json.dumps(figures | as_json(cases, runs), indent=2) + "\n")
    print(f"\nwritten to {flags.json}")


if __name__ == "__main__":
    main()
