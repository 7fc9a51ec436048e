"""Backoff: the reaction to rate limits and silence of a registry, for all workers.

A registry that asks for a pause, or that answered before and cannot be reached now, gets no requests for a
while; its refused tasks are repeated and not counted as attempts. If one of many requests is refused and no
long pause is asked for, only that task rests. A registry that accepts nothing for the run's patience, or was
never reached, is unavailable until the next pass, or until its pause ends. The patience is counted across
passes and starts again only when the registry accepts something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import Fault
from pipeline.log import event_of, fault_fields
from pipeline.model.faults import only_server_errors, patience_lost, pulls_reserved
from pipeline.model.messages import BlobCopied, FetchManifest, ManifestPushed, ManifestsHeaded, TaskFailed
from pipeline.scheduler.notices import TaskDoomed
from pipeline.scheduler.pull_reserve import LOOKED_AFTER

if TYPE_CHECKING:
    from pipeline.model.cost import Cost
    from pipeline.model.messages import Outcome, Task, Throttled
    from pipeline.model.task import SlotKind
    from pipeline.scheduler.images import Images
    from pipeline.scheduler.pull_reserve import PullReserve
    from pipeline.scheduler.rate_budget import RateBudgets
    from pipeline.scheduler.registry_state import RegistryState
    from pipeline.scheduler.router import Router
    from pipeline.scheduler.shared_state import SharedState
    from pipeline.scheduler.task_queue import Demand

_ASKED_AGAIN = 30.0
"""Seconds between two attempts to reach a registry that answered before."""
_TROUBLES = 8
"""Tasks in a row that fail with 5xx, each after its own retries, before a registry is paused."""
_TROUBLED_FOR = 15.0
"""Seconds of nothing but 5xx after which it is unavailable; the next pass tries it again."""
_TROUBLED_AGAIN = 5.0
"""Seconds between two attempts meanwhile."""
_TOLD_AGAIN = 60.0
"""Seconds after which the log repeats that a pause continues; some registries ask each second."""
_BRIEF = 2.0
"""Seconds: a refusal asking for at most this long may concern one request only."""
_UNSAID = 10.0
"""Seconds: our default pauses are shorter, except for an exhausted quota."""
_RARE = 0.02
"""Share of refused requests below which a refusal concerns one request only."""
_IN_A_ROW, _IN_A_ROW_PACED = 3, 10
"""Consecutive refusals that concern the registry, not one request. At a learned pace that is slightly too
high, several requests are refused together."""


class Backoff:
    """Pauses registries or single tasks, and decides which registries are unavailable.

    Args:
        state: what all parts share.
        images: open images, whose lookups are taken apart so that one destination holds up no other.
        router: takes back the tasks that wait.
        budgets: learn the rates of registries that push back steadily.
        patience: seconds after which a registry that lets nothing through is unavailable.
    """

    def __init__(
        self, state: SharedState, images: Images, router: Router, *, budgets: RateBudgets, patience: float
    ) -> None:
        """See the class."""
        self._budgets = budgets
        self._state = state
        self._images = images
        self._router = router
        self._patience = patience
        self._why: dict[str, Fault] = {}
        """By registry: the fault that caused the last pause."""
        self._told: dict[str, float] = {}
        """By registry: when the log last reported its pause."""
        self._refused_alone: dict[str, float] = {}
        """By key of a task that was refused alone: when it was first refused."""

    def heard(self, task: Task, outcome: Outcome, demand: Demand) -> bool:
        """Note which registry answered; True: the task is repeated, since a registry is unreachable now.

        `demand`: the places that the task had.
        """
        self._refused_alone.pop(task.key, None)
        faults = _faults(outcome)
        silent = {fault.registry for fault in faults if fault.status is None or fault.host}
        faults = [fault for fault in faults if not fault.host]  # not a host that the registry named
        broken = {fault.registry for fault in faults if fault.is_server_error}
        asked = {name for name, count in outcome.cost.requests if count}
        for name, kind in demand:
            if name in asked and name not in silent:
                registry = self._state.queue.registry(name)
                registry.answered = True
                self._learn(task, outcome.cost, name, kind)
                if name in broken:
                    continue
                if registry.paused_since is not None and registry.paused_until <= self._state.now:
                    self._recovered(name, registry)
                # Tasks that began before a pause may succeed during it: patience starts again, and ends.
                pauses = registry.paused_until > self._state.now
                registry.refusing_since = self._state.now if pauses else None
                registry.recent.refused_in_a_row = registry.errors_in_a_row = 0
                registry.accepted = registry.accepted or isinstance(outcome, BlobCopied | ManifestPushed)
        for fault in faults:
            registry = self._state.queue.registry(fault.registry)
            if fault.registry in broken and fault.retryable and registry.unavailable is None:
                if self._is_in_trouble(fault):
                    self._pause(task, fault, _TROUBLED_AGAIN)
                    return True
                continue
            if not fault.is_unreached or registry.unavailable is not None:
                continue
            if registry.answered and fault.retryable:
                self._pause(task, fault, _ASKED_AGAIN)
                return True
            if not registry.answered:
                self._lose(fault.registry, fault)
        return False

    def _is_in_trouble(self, fault: Fault) -> bool:
        """Whether the registry should pause; after a while of nothing but 5xx it is unavailable."""
        registry = self._state.queue.registry(fault.registry)
        if not registry.errors_in_a_row:
            registry.errors_since = self._state.now
        registry.errors_in_a_row += 1
        lasted = self._state.now - registry.errors_since
        if registry.errors_in_a_row >= _TROUBLES and lasted >= _TROUBLED_FOR:
            self._lose(fault.registry, only_server_errors(fault, lasted))
            return False
        return registry.errors_in_a_row >= _TROUBLES

    def _learn(self, task: Task, cost: Cost, name: str, kind: SlotKind) -> None:
        """Tell the registry's limit how long its answers took."""
        registry = self._state.queue.registry(name)
        waited, requests = dict(cost.waited).get(name, 0.0), dict(cost.requests)[name]
        if waited <= 0:
            return
        found = registry.limits[kind].answered(type(task).__name__, waited / requests, self._state.now)
        if found is not None and (kind not in registry.told or self._state.debug):
            event = event_of(
                "registry.settled",
                {"registry": name, "kind": kind, "limit": found.limit, "tried": found.tried},
                facts={"gain": found.gain},
                level="debug" if kind in registry.told else "info",
            )
            registry.told.add(kind)
            self._state.events.append(event)

    def throttled(self, task: Task, outcome: Throttled) -> Fault | None:
        """A registry limits the rate: the task waits and is repeated, not counted as an attempt.

        Returns:
            Why the task fails instead, if it was refused for the run's patience while others succeeded.
        """
        now, name = self._state.now, outcome.fault.registry
        registry = self._state.queue.registry(name)
        if not outcome.fault.host:
            registry.recent.refuse(now)
        alone = bool(outcome.fault.host) or self._is_rare(registry, outcome)
        if self._budgets.is_paced(name) or not (alone or outcome.asked > _BRIEF or outcome.delay > _UNSAID):
            self._budgets.refused(name, asked=registry.recent.asked(now), now=now)
        if alone:
            waited = now - self._refused_alone.setdefault(task.key, now)
            if waited >= self._patience_at(name):
                return patience_lost(outcome.fault, waited, one_request=True)
            self._router.returned(task)
            delay = outcome.delay if outcome.asked else min(outcome.delay, 1.0 + waited)
            self._state.queue.rest(task, now + delay)
            return None
        for place, kind in self._state.queue.demand(task):
            if place == name:
                registry.limits[kind].push_back(now, until=now + outcome.delay)
        self._pause(task, outcome.fault, outcome.delay)
        return None

    def _patience_at(self, name: str) -> float:
        own = self._state.queue.registry(name).settings.patience
        return self._patience if own is None else own

    def _is_rare(self, registry: RegistryState, outcome: Throttled) -> bool:
        """Whether the refusal concerns this request only, not the registry."""
        paced = self._budgets.is_paced(outcome.fault.registry)
        return (
            outcome.asked <= _BRIEF
            and outcome.delay <= _UNSAID
            and registry.refusing_since is None
            and registry.recent.refused_in_a_row < (_IN_A_ROW_PACED if paced else _IN_A_ROW)
            and (paced or registry.recent.share_refused(self._state.now) < _RARE)
        )

    def _pause(self, task: Task, fault: Fault, delay: float) -> None:
        name = fault.registry
        registry = self._state.queue.registry(name)
        self._why[name] = fault
        begins = registry.paused_until <= self._state.now
        fresh = registry.refusing_since is None
        if registry.refusing_since is None:
            registry.refusing_since = self._state.now
        if begins and (fresh or self._state.now - self._told.get(name, 0.0) >= _TOLD_AGAIN):
            self._told[name] = self._state.now
            self._say(fault, delay, left=registry.refusing_since + self._patience_at(name) - self._state.now)
        if registry.paused_since is None:
            registry.paused_since = self._state.now
        registry.paused_until = max(registry.paused_until, self._state.now + delay)
        self._router.postpone(task, name)
        if begins:
            self._images.lookups.pause(name)
            self._state.mirrors.avoid(name)
        self._judge(name, registry)

    def _say(self, fault: Fault, delay: float, *, left: float) -> None:
        troubled = self._state.queue.registry(fault.registry).errors_in_a_row > 0
        left = max(0.0, min(left, _TROUBLED_FOR) if troubled else left)
        event = event_of(
            "registry.cooldown",
            {
                **fault_fields(fault),
                "delay": round(delay, 1),
                "limit": self._state.queue.registry(fault.registry).limits["request"].limit,
                "open": len(self._images),
                "again": True,
            },
            facts={"words": fault.words, "hint": fault.hint, "troubled": troubled, "left": left},
        )
        self._state.events.append(event)

    def _recovered(self, name: str, registry: RegistryState) -> None:
        """A pause is over, and the registry accepts requests again."""
        assert registry.paused_since is not None
        paused, registry.paused_since = self._state.now - registry.paused_since, None
        limit = registry.limits["request"].limit
        event = event_of(
            "registry.recovered", {"registry": name, "limit": limit, "duration": round(paused, 3)}
        )
        self._state.events.append(event)

    def _lose(self, name: str, fault: Fault) -> None:
        """Make the registry unavailable in this pass: whatever needs it fails for the same reason."""
        self._state.queue.registry(name).unavailable = fault
        self._state.mirrors.avoid(name)
        for task in self._state.queue.tasks():
            if any(name == place for place, _ in self._state.queue.demand(task)):
                self._state.queue.drop(task.key)
                self._state.doom(task, name)

    def tick(self) -> None:
        """Make registries unavailable that have accepted nothing for too long."""
        for name, registry in self._state.queue.troubled(self._state.now):
            self._judge(name, registry)
        for name, reserve in self._state.queue.reserving():
            if reserve.since is not None and self._state.now - reserve.since >= self._patience_at(name):
                self._give_up_pulls(name, reserve)

    def counted(self, task: Task, cost: Cost) -> None:
        """Process the remaining pulls that registries state, if some are left to others."""
        for name, left in cost.pulls_left:
            reserve = self._state.queue.registry(name).reserve
            if reserve is not None and reserve.said(left, self._state.now, by_pull=task.pulls):
                facts = {"pulls": left, "kept": reserve.kept, "left": self._patience_at(name)}
                event = event_of(
                    "registry.reserved",
                    {"registry": name, "delay": LOOKED_AFTER, "open": len(self._images)},
                    facts=facts,
                )
                self._state.events.append(event)

    def _give_up_pulls(self, name: str, reserve: PullReserve) -> None:
        """Fail tasks that would take from the pulls left to others, and nothing else."""
        for task in self._state.queue.tasks():
            if isinstance(task, FetchManifest) and task.read_from.registry == name:
                fault = pulls_reserved(
                    task.read_from, task.digest, left=reserve.left or 0, reserve=reserve.kept
                )
                self._state.queue.drop(task.key)
                self._state.notices.append(TaskDoomed(task, fault))

    def _judge(self, name: str, registry: RegistryState) -> None:
        """Make a registry unavailable if patience has ended and it still pauses."""
        since, now = registry.refusing_since, self._state.now
        if since is None or registry.unavailable is not None or registry.paused_until <= now:
            return
        if now - since >= self._patience_at(name):
            self._lose(name, patience_lost(self._why[name], now - since))

    def wake(self, now: float) -> float | None:
        """Seconds until a pause, a rest or patience ends; None if there is none."""
        times = [
            moment
            for name, registry in self._state.queue.troubled(now)
            for moment in (
                registry.paused_until,
                registry.refusing_since + self._patience_at(name)
                if registry.refusing_since is not None
                else now,
            )
            if moment > now
        ]
        for name, reserve in self._state.queue.reserving():
            ends = (reserve.since or now) + self._patience_at(name)
            times += [moment for moment in (reserve.wake(now), ends) if moment is not None and moment > now]
        alarm = self._state.queue.next_alarm
        if alarm is not None:
            times.append(max(now, alarm))
        return min(times) - now if times else None


def _faults(outcome: Outcome) -> list[Fault]:
    """All faults of a task."""
    if isinstance(outcome, ManifestsHeaded):
        return [each for each in (outcome.source, *outcome.destinations) if isinstance(each, Fault)]
    if isinstance(outcome, BlobCopied):
        return [outcome.doubt] if outcome.doubt else []
    return [outcome.fault] if isinstance(outcome, TaskFailed) else []
