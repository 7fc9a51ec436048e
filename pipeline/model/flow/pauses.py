"""Pauses: what push-back and silence of a registry lead to, for all processes at once.

A registry that asks for a pause, or that answered before and cannot be reached now, is asked nothing for a
while; what was under way there goes back uncharged. One that lets nothing through for the run's patience, or
was never reached at all, is given up until the next pass.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.errors import Fault
from pipeline.log import Event, about
from pipeline.model.messages import Failed, Look, Looked

if TYPE_CHECKING:
    from pipeline.log import Value
    from pipeline.log.event import Level
    from pipeline.model.flow.desk import Desk
    from pipeline.model.flow.images import Images
    from pipeline.model.flow.limits import Kind, Registry
    from pipeline.model.flow.places import Settled
    from pipeline.model.messages import Cost, Outcome, Task, Throttled

_UNREACHED = frozenset({"UNREACHABLE", "CERTIFICATE"})
_ASKED_AGAIN = 30.0
"""Seconds between two tries to reach a registry that answered before."""
_TOLD_AGAIN = 60.0
"""Seconds after which the log tells again of a pause that goes on; some registries ask each second."""


class Pauses:
    """Holds registries, and gives them up.

    Args:
        desk: the common desk.
        images: open images, whose looks are taken apart so that one destination holds up no other.
        patience: seconds after which a registry that lets nothing through is given up.
    """

    def __init__(self, desk: Desk, images: Images, *, patience: float) -> None:
        """See the class."""
        self._desk = desk
        self._images = images
        self._patience = patience
        self._why: dict[str, Fault] = {}
        """By registry: what it was held for last."""
        self._told: dict[str, float] = {}
        """By registry: when the log told of its pause last."""

    def heard(self, task: Task, outcome: Outcome) -> bool:
        """Take in who answered; True: the task goes back, since a registry cannot be reached any more."""
        faults = [outcome.fault] if isinstance(outcome, Failed) else []
        if isinstance(outcome, Looked):
            faults = [each for each in (outcome.source, *outcome.destinations) if isinstance(each, Fault)]
        silent = {fault.registry for fault in faults if fault.status is None}
        asked = {name for name, count in outcome.cost.requests if count}
        for name, kind in self._desk.queue.demand(task):
            if name in asked and name not in silent:
                registry = self._desk.queue.registry(name)
                if registry.paused_since is not None and registry.cool_until <= self._desk.now:
                    self._recovered(name, registry)
                registry.answered, registry.blocked_since = True, None
                self._learn(task, outcome.cost, name, kind)
        for fault in faults:
            registry = self._desk.queue.registry(fault.registry)
            if fault.code not in _UNREACHED or registry.given_up is not None:
                continue
            if registry.answered and fault.retryable:
                self._hold(task, fault, _ASKED_AGAIN)
                return True
            if not registry.answered:
                self.give_up(fault.registry, fault)
        return False

    def _learn(self, task: Task, cost: Cost, name: str, kind: Kind) -> None:
        """Have the registry's places know how long its answers took."""
        registry = self._desk.queue.registry(name)
        waited, requests = dict(cost.waited).get(name, 0.0), dict(cost.requests)[name]
        if waited <= 0:
            return
        found = registry.places[kind].answered(type(task).__name__, waited / requests)
        if found is not None and (kind not in registry.told or self._desk.debug):
            first = kind not in registry.told
            registry.told.add(kind)
            self._desk.events.append(_settled(name, kind, found, level="info" if first else "debug"))

    def throttled(self, task: Task, outcome: Throttled) -> None:
        """The registry asks for a pause: the task goes back uncharged, and fewer run there from now on."""
        self._desk.queue.registry(outcome.fault.registry).shrink(self._desk.now)
        self._hold(task, outcome.fault, outcome.delay)

    def _hold(self, task: Task, fault: Fault, delay: float) -> None:
        name = fault.registry
        registry = self._desk.queue.registry(name)
        self._why[name] = fault
        begins = registry.cool_until <= self._desk.now
        fresh = registry.blocked_since is None
        if registry.blocked_since is None:
            registry.blocked_since = self._desk.now
        if begins and (fresh or self._desk.now - self._told.get(name, 0.0) >= _TOLD_AGAIN):
            self._told[name] = self._desk.now
            self._say(fault, delay, left=registry.blocked_since + self._patience - self._desk.now)
        if registry.paused_since is None:
            registry.paused_since = self._desk.now
        registry.cool_until = max(registry.cool_until, self._desk.now + delay)
        if isinstance(task, Look) and task.source and name != task.source.repository.registry:
            self._images.looks.part(task, name)
        else:
            self._images.returned(task)
        if begins:
            self._images.looks.pause(name)

    def _say(self, fault: Fault, delay: float, *, left: float) -> None:
        why = f"{fault.status}" if fault.status else fault.words
        why += f"; {fault.hint}" if fault.hint else ""
        asks = "asks for a pause" if fault.status else "cannot be reached any more: a pause"
        limit = self._desk.queue.registry(fault.registry).places["request"].room
        fields: dict[str, Value] = {
            **about(fault),
            "delay": round(delay, 1),
            "limit": limit,
            "open": len(self._images),
            "again": True,
        }
        self._desk.events.append(
            Event(
                name="registry.cooldown",
                level="warning",
                message=f"{fault.registry} {asks} of {delay:.0f}s ({why}); {len(self._images)} images are"
                f" open, the others go on; given up in {max(0.0, left):.0f}s unless it lets something through"
                " (--patience)",
                fields=fields,
            )
        )

    def _recovered(self, name: str, registry: Registry) -> None:
        """A pause is over, and the registry has let something through since."""
        assert registry.paused_since is not None
        paused, registry.paused_since = self._desk.now - registry.paused_since, None
        limit = registry.places["request"].room
        self._desk.events.append(
            Event(
                name="registry.recovered",
                message=f"{name} answers again after {paused:.0f}s; {limit} requests at a time",
                fields={"registry": name, "limit": limit, "duration": round(paused, 3)},
            )
        )

    def give_up(self, name: str, fault: Fault) -> None:
        """Ask the registry nothing more in this pass: whatever needs it fails for the same reason."""
        self._desk.queue.registry(name).given_up = fault
        for task in self._desk.queue.tasks():
            if any(name == place for place, _ in self._desk.queue.demand(task)):
                self._desk.queue.drop(task.key)
                self._desk.doom(task, name)

    def tick(self) -> None:
        """Give up registries that have let nothing through for too long."""
        for name, registry in list(self._desk.queue.cooling(self._desk.now)):
            since = registry.blocked_since
            waited = self._desk.now - since if since is not None else 0.0
            if since is not None and waited >= self._patience and registry.given_up is None:
                self.give_up(name, _patience_lost(self._why[name], waited))

    def wake(self, now: float) -> float | None:
        """Seconds until a pause or the patience ends; None: there is neither."""
        times = [
            moment
            for _, registry in self._desk.queue.cooling(now)
            for moment in (
                registry.cool_until,
                registry.blocked_since + self._patience if registry.blocked_since is not None else now,
            )
            if moment > now
        ]
        return min(times) - now if times else None


def _patience_lost(why: Fault, waited: float) -> Fault:
    """Why a registry is given up: what it said last, or that it could not be reached any more."""
    again = "repeat the command later, or with a longer --patience"
    return replace(
        why,
        words=f"it has let nothing through for {waited:.0f}s: {why.words}",
        code=why.code or ("TOOMANYREQUESTS" if why.status else "UNREACHABLE"),
        retryable=True,
        hint=f"{why.hint}; {again}" if why.hint else again,
    )


def _settled(registry: str, kind: Kind, found: Settled, *, level: Level) -> Event:
    what = "short requests" if kind == "request" else "blobs"
    why = f"{found.tried} were {found.gain:.1f} times as fast"
    if found.tried == found.places:
        why = "no more are allowed"
    return Event(
        name="registry.settled",
        level=level,
        message=f"{registry}: {found.places} {what} at a time; {why}",
        fields={"registry": registry, "kind": kind, "limit": found.places, "tried": found.tried},
    )
