"""The scheduler takes outcomes and gives out tasks; it has no process, socket or disk, and time is an
argument.

It knows what waits for what, what is in flight, when to wake and when the run is over. Every bug of order or
counting can be reproduced as a list of outcomes, in a test that takes milliseconds.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from pipeline.model.faults import PULL_RESERVE, worker_died
from pipeline.model.messages import (
    TaskFailed,
    TaskLost,
    Throttled,
)
from pipeline.model.registry_settings import NO_SETTINGS, RegistrySettings
from pipeline.model.selection import with_digest
from pipeline.scheduler.admission import Admission
from pipeline.scheduler.backoff import Backoff
from pipeline.scheduler.case_variants import CaseVariants
from pipeline.scheduler.image_results import ImageResults
from pipeline.scheduler.images import Images
from pipeline.scheduler.order import Order
from pipeline.scheduler.quarantine import Quarantine
from pipeline.scheduler.rate_budget import RateBudgets
from pipeline.scheduler.router import Router
from pipeline.scheduler.shared_state import SharedState
from pipeline.scheduler.verification import Verification
from pipeline.scheduler.view import RunView, TransferView

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pipeline.errors import Fault
    from pipeline.log import Event
    from pipeline.model.cost import Cost
    from pipeline.model.facts import Facts
    from pipeline.model.messages import Outcome, Stage, Task, UploadProgress
    from pipeline.model.options import ImageOptions
    from pipeline.model.selection import Rule
    from pipeline.model.task import Transfer
    from pipeline.settings import Settings

_OF_ONE_MACHINE = 4
"""Workers that the bounds of Limits are meant for."""


class Scheduler:
    """The ledger of one run.

    Args:
        rules: in file order.
        run: the run's name in the records.
        facts: the records.
        settings: limits, patience, and what the run is for.
        options: of images whose rule does not say otherwise.
        now: seconds on a clock that never goes back; the same clock in every call.
        epoch: seconds since 1970 when that clock was at 0.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        run: str,
        facts: Facts,
        settings: Settings,
        options: ImageOptions,
        now: float,
        settings_of: Callable[[str], RegistrySettings] = lambda _: NO_SETTINGS,
        epoch: float = 0.0,
    ) -> None:
        """See the class."""
        self._state = SharedState(
            run=run, facts=facts, limits=settings.limits, aim=settings.aim, now=now, epoch=epoch
        )
        self.figures = self._state.figures
        self._state.debug, self._queue = settings.debug, self._state.queue
        self.budgets = RateBudgets(bandwidth=settings.bandwidth)
        self._queue.configure(settings_of, self.budgets)
        self._state.take_rules(rules, options)
        order = Order(rules)
        self._results = ImageResults(self._state, order=order)
        images = Verification if settings.aim == "verify" else Images
        self._quarantine = Quarantine(self._state, trust_existing=settings.trust_existing)
        self._images = images(self._state, self._results, settings, quarantine=self._quarantine)
        self._case_variants = CaseVariants(self._state, self._results)
        self._admission = Admission(
            self._state,
            self._images,
            case_variants=self._case_variants,
            quarantine=self._quarantine,
            order=order,
            limits=settings.limits,
        )
        self._router = Router(self._state, self._images, self._admission, self._case_variants)
        self._backoff = Backoff(
            self._state, self._images, self._router, budgets=self.budgets, patience=settings.patience
        )
        self._pump()

    def take(self, stage: Stage, now: float, *, alone: bool = False) -> Task | None:
        """Give out a task that may start now; None if there is none.

        Args:
            stage: whose workers have room.
            now: seconds.
            alone: only a task that must run with nothing beside it; ask where a worker is idle.
        """
        self._state.now = now
        task = self._queue.take(stage, now, alone=alone)
        if task is not None:
            self._state.history.tell(now, task.key, "given out")
            task = self._router.prepare(task)
        return task

    def resize(self, workers: int) -> None:
        """Let bounds grow with the workers of other machines; learned limits stay below them."""
        factor = max(1, math.ceil(workers / _OF_ONE_MACHINE))
        self._queue.scale(factor)
        self._admission.scale = factor

    def has_suspects(self, stage: Stage, now: float) -> bool:
        """Whether a task that must run alone in its worker may start now."""
        return self._queue.suspect(stage, now) is not None

    def keep(self, word: UploadProgress) -> None:
        """Note the progress of a running task's upload; a message about any other task is ignored."""
        task = self._queue.task(word.key)
        if task is not None:
            self._router.keep(task, word.session)

    def settle(self, outcome: Outcome, now: float) -> None:
        """Process the outcome of a task; a task that is not running (any more) is ignored."""
        self._state.now = now
        released = self._queue.release(outcome.key)
        if released is None:
            return
        task, demand = released
        self._state.history.tell(now, outcome.key, type(outcome).__name__)
        self._state.events.extend(outcome.events)
        self._pay(task, outcome.cost)
        self._images.charge(self._router.payer(task), outcome.cost)
        self._state.read_back.settled(task, outcome)
        match outcome:
            case TaskLost():
                self._lost(task, outcome)
            case _ if self._state.mirrors.failed(task, outcome):
                self._router.returned(task)
            case TaskFailed() | Throttled() if task.is_optional:
                self._state.marks.pop(task.key, None)
                self._router.decide(task, TaskFailed(key=task.key, fault=outcome.fault))
            case Throttled() if outcome.fault.code == PULL_RESERVE:
                self._router.returned(task)
            case Throttled():
                fault = self._backoff.throttled(task, outcome)
                if fault is not None:
                    self._router.decide(task, TaskFailed(key=task.key, fault=fault))
            case _:
                self._state.marks.pop(task.key, None)
                if not self._backoff.heard(task, outcome, demand):
                    self._router.decide(task, outcome)
        self._pump()

    def _pay(self, task: Task, cost: Cost) -> None:
        """Count what a task cost, in total and by registry."""
        self.figures.pay(cost)
        for name, count in cost.requests:
            registry = self._queue.registry(name)
            registry.requests += count
            registry.recent.add(self._state.now, count)
            self.budgets.asked(name, count, self._state.now)
        for name, reason in cost.retries:
            self._queue.registry(name).retries[reason] += 1
        self._backoff.counted(task, cost)
        for asked in cost.asked:
            self._queue.registry(asked.registry).time(asked)
        if (transfer := task.transfer) is not None:
            self._queue.registry(self._read_at(transfer)).read += cost.read
            self._queue.registry(transfer.destination.registry).written += cost.written

    def _read_at(self, transfer: Transfer) -> str:
        """The registry that a blob is read at; a verification reads what is at the destination."""
        return (transfer.destination if self._state.aim == "verify" else transfer.source).registry

    def view(
        self, now: float, *, began: float, running: Mapping[str, tuple[int, float]], workers: int
    ) -> RunView:
        """The current state of the run, for displays and metrics.

        Args:
            now: seconds.
            began: when the run began.
            running: by key of a task, the bytes that it has transferred, and when it was given out.
            workers: processes.
        """
        tasks, images = self._queue.running_tasks(), self._images.open_images
        destinations = {image.key: str(image.destination) for image in images}
        unread = self._admission.waiting or any(image.state != "copying" for image in images)
        transfers: list[TransferView] = []
        read: Counter[str] = Counter()
        written: Counter[str] = Counter()
        for task in tasks:
            if (transfer := task.transfer) is None or task.key not in running:
                continue
            sent, since = running[task.key]
            view = TransferView(
                destination=str(transfer.destination),
                image=destinations.get(self._router.payer(task), ""),
                digest=transfer.blob.digest,
                size=transfer.blob.size,
                sent=sent,
                seconds=now - since,
            )
            transfers.append(view)
            read[self._read_at(transfer)] += sent
            if self._state.aim != "verify":
                written[transfer.destination.registry] += sent
        return RunView(
            seconds=now - began,
            figures=self.figures,
            expanded=self._admission.exhausted,
            registries=tuple(self._queue.views(now, read=read, written=written)),
            transfers=tuple(sorted(transfers, key=lambda view: -view.size)),
            running=Counter(task.stage for task in tasks),
            workers=workers,
            unsent=max(0, self._router.unsent - sum(each.sent for each in transfers)),
            sized=self._admission.exhausted and not unread,
            planned=self._admission.waiting,
        )

    def _lost(self, task: Task, outcome: TaskLost) -> None:
        """Count a death for a task that was running; one that ran alone fails, since it killed its worker."""
        if outcome.fenced:
            task = self._router.doubt(task)
        if not outcome.begun:
            self._router.returned(task)
            return
        if outcome.alone:
            fault = worker_died(task.key, outcome.reason)
            self._state.marks.pop(task.key, None)
            self._router.decide(task, TaskFailed(key=task.key, fault=fault))
            return
        self._state.marks[task.key] = self._state.marks.get(task.key, 0) + 1
        self._router.returned(task)

    def tick(self, now: float) -> None:
        """Do what is due by the clock: a registry that accepts nothing for too long becomes unavailable."""
        self._state.now = now
        self._backoff.tick()
        self.budgets.tick(now)
        self._pump()

    def _pump(self) -> None:
        """Deliver notices, admit images and begin the next pass, until there is nothing left to do."""
        notices = self._state.notices
        while True:
            while notices:
                self._router.deliver(notices.popleft())
            if self._state.is_stopping:
                self._images.finish()
            else:
                self._admission.admit()
                if self._pass_is_over():
                    if self._results.rests_until > self._state.now:
                        return
                    self._next_pass()
                    continue
                if self._is_empty():
                    self._case_variants.begin()
            if not notices:
                return

    def _pass_is_over(self) -> bool:
        """Whether another pass follows, at once or after a wait for slow registries."""
        return bool(self.figures.to_retry or self._admission.deferred) and self._is_empty()

    def _is_empty(self) -> bool:
        idle = not (self._images or self._queue.in_flight or self._queue.waiting or self._state.notices)
        return idle and self._admission.exhausted

    def _next_pass(self) -> None:
        self._queue.forgive(self._state.now)
        self._state.attempt += 1
        self._admission.next_pass()

    @property
    def done(self) -> bool:
        """Whether the run is over: every image is finished, or it is stopping and nothing is in flight."""
        if not self._state.is_stopping:
            return self._is_empty() and not self._pass_is_over()
        return not self._queue.in_flight and not self._queue.startable(self._state.now)

    @property
    def finished(self) -> bool:
        """Whether every image of every rule is finished, and nothing is left for another run."""
        left = self.figures.to_retry or self._admission.unexpanded or self._case_variants.open
        return self._is_empty() and not left

    def drain(self, now: float) -> None:
        """Stop: open no more images, and push only manifests of images that have all their blobs."""
        self._state.now = now
        self._admission.stop()
        self._state.may_finish = self._router.may_finish
        for task in self._queue.tasks():
            if not self._state.allows(task):
                self._queue.drop(task.key)
                self._router.returned(task)

    def wake(self, now: float) -> float | None:
        """Seconds until something can change without an outcome; None: never."""
        wakes = [each for each in (self._backoff.wake(now), self.budgets.wake(now)) if each is not None]
        wake = min(wakes, default=None)
        if not self._pass_is_over():
            return wake
        rest = max(0.0, self._results.rests_until - now)
        return rest if wake is None else min(rest, wake)

    def events(self) -> list[Event]:
        """The events since the last call."""
        events, self._state.events = self._state.events, []
        return events

    @property
    def has_events(self) -> bool:
        """Whether there is anything to log."""
        return bool(self._state.events)

    @property
    def unfinished(self) -> list[tuple[str, str, int]]:
        """Source, destination and rule of each open image, except those that follow another image."""
        images = (image for image in self._images.open_images if image.is_shared or not image.rival)
        return [
            (str(image.source), with_digest(image.destination, image.required), image.rule)
            for image in images
        ]

    @property
    def unexpanded(self) -> list[Rule]:
        """The rules that have not been fully expanded, in file order."""
        return self._admission.unexpanded

    @property
    def quarantine_begins(self) -> bool:
        """Whether every image is held and none was seen before: a first run, or lost records."""
        held = self.figures.held
        return held > 0 and held == self.figures.processed and not self._quarantine.seen_before

    @property
    def failed_rules(self) -> list[tuple[Rule, Fault]]:
        """Rules whose tags or repositories could not be listed in full."""
        return self._admission.failed_rules

    def history(self, key: str) -> list[str]:
        """What happened to one task (its key) or image ("source -> destination"), oldest first."""
        return self._state.history.of(key)

    def validate(self) -> None:
        """Check the invariants; for tests.

        Raises:
            AssertionError: one does not hold.
        """
        unfinished = self.figures.unfinished
        assert unfinished == len(self._images), f"{unfinished} images unfinished, {len(self._images)} open"
        self._queue.validate()
        if not (self._queue.in_flight or self._queue.waiting or self._state.is_stopping):
            stuck = [image.key for image in self._images.open_images]
            assert not stuck, f"nothing is under way, but these images are open: {stuck}"
        assert not self._state.notices, "something that was learned has not been told"
        self._images.manifests.validate()
        self._images.fetches.validate()
        self._images.lookups.validate()
        self._images.companions.validate()
        self._admission.validate()
