"""The cost of push-back besides the pauses themselves, in virtual time: the scheduler alone.

The simulation of the scheduler's tests runs it over registries that refuse requests now and then, steadily,
or serve few at a time.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from scripts.bench.report import judged
from tests.unit.scheduler.simulation import LEARNED, Server, Simulation

if TYPE_CHECKING:
    from tests.unit.scheduler.simulation import Ran

TAGS = 3_000
_AT_DESTINATION = 11
"""Of the 18 requests of a tag: those to its destination."""
_SHARES = (0.0005, 0.002, 0.01)
_SLOTS = 8
_STEADY = {
    "10/s allowed": Server(rate=10.0),
    "20/s allowed": Server(rate=20.0),
    "40/s allowed": Server(rate=40.0),
    "200/s allowed": Server(rate=200.0),
    "200/s allowed, 10 s asked": Server(rate=200.0, retry_after=10.0),
    "16 at once allowed": Server(at_once=16),
}


def pushback(tags: int = TAGS) -> dict[str, Any]:
    """Run each kind of registry once; prints and returns the figures."""
    print(f"{'':34}{'seconds':>10}{'paused':>10}{'requests':>10}{'refused':>10}{'us a task':>10}")
    ran = {"calm": _run("calm", tags)}
    for share in _SHARES:
        name = f"{share:.2%} refused"
        server = Server(refused=share)
        ran[name] = _run(name, tags, source=server, destination=server)
    for share in (0.0, *_SHARES):
        name = f"8 slots, {share:.2%} refused"
        ran[name] = _run(name, tags, destination=Server(slots=_SLOTS, refused=share))
    for name, server in _STEADY.items():
        ran[name] = _run(name, tags // 5, destination=server)
    _judge(ran, tags)
    return {name: asdict(each) for name, each in ran.items()}


def _run(name: str, tags: int, *, source: Server | None = None, destination: Server | None = None) -> Ran:
    ran = Simulation(tags, source=source, destination=destination).run()
    print(
        f"{name:34}{ran.seconds:10,.1f}{ran.paused:10,.1f}{ran.requests:10,}{ran.refused:10,}"
        f"{ran.within / ran.tasks * 1e6:10.0f}",
        flush=True,
    )
    return ran


def _judge(ran: dict[str, Ran], tags: int) -> None:
    calm = ran["calm"].seconds
    for share in _SHARES:
        found = ran[f"{share:.2%} refused"]
        print(
            judged(f"{share:.2%} refused: beside pauses, of calm", (found.seconds - found.paused) / calm, 2.0)
        )
    least = tags * _AT_DESTINATION * Server().seconds / _SLOTS
    for share in (0.0, *_SHARES):
        found = ran[f"8 slots, {share:.2%} refused"]
        beside = (found.seconds - found.paused) / least
        print(judged(f"8 slots, {share:.2%} refused: of the least", beside, 1 / 0.92))
    for name, server in _STEADY.items():
        if server.rate and server.retry_after <= 1:
            found = ran[name]
            least = (found.seconds - LEARNED) * server.rate
            print(judged(f"{name}: time, of the least", least / (found.late - found.refused_late), 1 / 0.95))
            print(judged(f"{name}: refused after {LEARNED:.0f} s", found.refused_late / found.late, 0.03))
