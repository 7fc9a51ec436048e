"""The measurements: corpora, the states in which they are copied, and the goals, all by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scripts.bench.clients import BARE, CRANE, REGSYNC, SKOPEO
from scripts.bench.delay import Way
from scripts.corpus import Corpus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scripts.bench.counting import State

LEAST = "the least"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One ratio to reach."""

    state: State = "cold"
    figure: str
    """Of `Run.figures`."""
    at_most: float
    against: str
    """A client, or LEAST."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One corpus, copied in one environment."""

    about: str
    corpus: Corpus
    states: tuple[State, ...] = ("cold", "unchanged")
    destinations: int = 1
    tls: bool = False
    way: Way | None = None
    """The path between any client and any registry."""
    bare: bool = False
    """Whether the bare loop runs too."""
    without: tuple[str, ...] = ()
    """Clients to leave out, since they would take many minutes."""
    once: bool = False
    """Whether one round is enough: waiting dominates, and that does not vary."""
    goals: tuple[Goal, ...] = ()


_EXACT = Goal(figure="requests", at_most=1.02, against=LEAST)
_LARGE = Corpus(repos=1, tags=1, layer_kb=268_436, platforms=("amd64",), common=4, own=0, per_tag=0)
"""Files of 256 MiB: their blobs are a little larger."""
_FAR = Corpus(repos=4, tags=10, layer_kb=20)


def _per_byte(case: str) -> Case:
    goals = tuple(Goal(figure=figure, at_most=1.25, against=BARE) for figure in ("wall", "cpu"))
    return Case(
        about=f"few large layers, {case}: 4 of 256 MiB",
        corpus=_LARGE,
        states=("cold",),
        tls=case == "TLS",
        bare=True,
        goals=goals,
    )


def _far(milliseconds: int) -> Case:
    goals = (
        Goal(figure="wall", at_most=1 / 10, against=SKOPEO),
        Goal(state="unchanged", figure="wall", at_most=1 / 15, against=SKOPEO),
    )
    about = f"{milliseconds} ms away"
    return Case(about=about, corpus=_FAR, way=Way(round_trip=milliseconds / 1000), once=True, goals=goals)


CASES: Mapping[str, Case] = {
    "many": Case(
        about="many small images",
        corpus=Corpus(),
        states=("cold", "unchanged", "changed"),
        goals=(
            _EXACT,
            Goal(figure="wall", at_most=0.33, against=SKOPEO),
            Goal(figure="cpu", at_most=0.27, against=SKOPEO),
            Goal(figure="wall", at_most=1.0, against=CRANE),
            Goal(figure="wall", at_most=1.0, against=REGSYNC),
            Goal(state="unchanged", figure="requests", at_most=1.0, against=LEAST),
            Goal(state="unchanged", figure="wall", at_most=0.17, against=SKOPEO),
        ),
    ),
    "shared": Case(
        about="shared bases: 50 repositories over 6 layers of 1 MB",
        corpus=Corpus(repos=50, tags=2, layer_kb=1000, common=6, own=0, per_tag=0),
        goals=(
            _EXACT,
            Goal(figure="wall", at_most=0.27, against=SKOPEO),
            Goal(figure="GET blob", at_most=1.0, against=LEAST),
        ),
    ),
    "large": _per_byte("plain"),
    "tls": _per_byte("TLS"),
    "fan": Case(
        about="many destinations: 3 registries",
        corpus=Corpus(repos=5, tags=8),
        states=("cold", "unchanged"),
        destinations=3,
    ),
    "wide": Case(
        about="2,000 tags",
        corpus=Corpus(repos=20, tags=100, layer_kb=1, platforms=("amd64",), common=1, own=0, per_tag=0),
        goals=(Goal(state="unchanged", figure="wall", at_most=1.25, against=REGSYNC),),
    ),
    "image": Case(about="one small image", corpus=Corpus(repos=1, tags=1)),
    "large1": Case(
        about="one layer of 2 GiB",
        corpus=replace(_LARGE, layer_kb=2_147_480, common=1),
        states=("cold",),
        bare=True,
    ),
    "latency": Case(
        about="answers 50 ms late",
        corpus=Corpus(repos=20, tags=20, layer_kb=10),
        way=Way(answer=0.05),
        without=(SKOPEO, CRANE),
        once=True,
        goals=(Goal(figure="wall", at_most=0.1, against=REGSYNC),),
    ),
    "slots": Case(
        about="8 requests served at a time, each in 10 ms",
        corpus=Corpus(repos=10, tags=10, layer_kb=10),
        way=Way(slots=8, service=0.01),
        once=True,
        goals=(Goal(figure="wall", at_most=1.1, against=REGSYNC),),
    ),
    "far50": _far(50),
    "far150": _far(150),
}
DEFAULT = ("start", "pushback", "many", "shared", "large", "tls", "fan")
"""The default cases, which take a few minutes together."""
EXTRA = ("start", "tags", "pushback", "rates", "scale", "cluster", "visits", "listings")
"""Measurements of another kind: extra.py, pushback.py, rates.py, scale.py, cluster.py, listings.py."""
