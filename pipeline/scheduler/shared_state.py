"""What the parts of the scheduler share: the time, facts, the task queue, notices, events, figures."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.log import fault_fields
from pipeline.log.catalogue import LATER
from pipeline.model.facts import Holding
from pipeline.model.figures import Figures
from pipeline.model.remedies import remedy_for
from pipeline.model.selection import AllTags, companion_takers
from pipeline.scheduler.history import TaskHistory
from pipeline.scheduler.mirrors import Mirrors
from pipeline.scheduler.notices import TaskDoomed
from pipeline.scheduler.read_back import ReadBack
from pipeline.scheduler.task_queue import TaskQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.errors import Fault
    from pipeline.log import Event, Value
    from pipeline.model.facts import Facts
    from pipeline.model.messages import Task
    from pipeline.model.options import ImageOptions
    from pipeline.model.reference import Repository
    from pipeline.model.selection import Rule
    from pipeline.scheduler.notices import Notice
    from pipeline.settings import Aim, Limits


class SharedState:
    """One for each scheduler; its parts add ready tasks, notices, facts and events."""

    def __init__(
        self,
        *,
        run: str,
        facts: Facts,
        limits: Limits,
        aim: Aim = "copy",
        now: float = 0.0,
        epoch: float = 0.0,
    ) -> None:
        """Begin with nothing ready.

        Args:
            run: the run's name in the records.
            facts: the records.
            limits: of parallelism.
            aim: the purpose of the run.
            now: seconds.
            epoch: seconds since 1970 when the clock of `now` was at 0.
        """
        self._epoch = epoch
        self.run = run
        self.facts = facts
        self.figures = Figures()
        self.queue = TaskQueue(limits)
        self.mirrors = Mirrors(self)
        self.read_back = ReadBack()
        self.history = TaskHistory()
        self.now = now
        self.began = epoch + now
        """When the run began, in seconds since 1970."""
        self.events: list[Event] = []
        self.notices: deque[Notice] = deque()
        """Notices that the scheduler has not delivered yet."""
        self.marks: dict[str, int] = {}
        """By key of a task: how many workers died while it was running."""
        self.aim = aim
        """The purpose of the run: a verification believes nothing and copies nothing."""
        self.options: dict[int, ImageOptions] = {}
        """By rule: the options of its images."""
        self.companion_tags: set[int] = set()
        """Rules that copy tags that list companions like any other tags."""
        self.all_tags: set[int] = set()
        """Those of them that take every tag: no image of theirs has to look for such tags."""
        self.attempt = 1
        """The number of the current pass over the images."""
        self.debug = False
        """Whether debug events are wanted."""
        self.may_finish: Callable[[Task], bool] | None = None
        """Set when the run is stopping: only the tasks that it allows become ready."""

    @property
    def wall(self) -> float:
        """Seconds since 1970."""
        return self._epoch + self.now

    def take_rules(self, rules: Sequence[Rule], options: ImageOptions) -> None:
        """Note the options of each rule's images; `options`: those that a rule does not state."""
        self.options = {rule.number: options.under(rule.options) for rule in rules}
        self.companion_tags = companion_takers(rules, self.options)
        self.all_tags = {
            rule.number
            for rule in rules
            if rule.number in self.companion_tags and isinstance(rule.selection, AllTags)
        }

    def may_retry(self, options: ImageOptions) -> bool:
        """Whether an image or rule with these options that fails in this pass is retried in the next one."""
        return self.attempt <= options.retries

    def failure(self, rule: Rule, fault: Fault, *, again: bool) -> tuple[dict[str, Value], dict[str, object]]:
        """What the event of a failed image or rule has about it: fields, and facts for its sentence."""
        fields: dict[str, Value] = {
            "rule": rule.text,
            "file.path": rule.file or None,
            "line": rule.line or None,
            **fault_fields(fault),
            "attempt": self.attempt,
            "again": again,
        }
        advice = (
            fault.hint
            if again
            else fault.hint or remedy_for(fault.status, fault.code, retryable=fault.retryable)
        )
        if again:
            fields["waits"] = LATER
        attempts = self.options[rule.number].retries + 1
        return fields, {"place": rule.place, "fault": fault, "advice": advice, "attempts": attempts}

    def takes_part(self, options: ImageOptions) -> bool:
        """Whether an image or rule with these options that failed in the pass before is retried now."""
        return self.attempt <= options.retries + 1

    @property
    def is_stopping(self) -> bool:
        """Whether the run is stopping."""
        return self.may_finish is not None

    def allows(self, task: Task) -> bool:
        """Whether the task may be given out: while the run is stopping, only if it finishes an image."""
        return self.may_finish is None or self.may_finish(task)

    def ready(self, task: Task) -> bool:
        """Queue a task; if it needs an unavailable registry, it fails at once.

        A task that is running already answers everybody who asks for it. While the run is stopping, only
        tasks that finish an image are queued.

        Returns:
            Whether an outcome will follow.
        """
        if self.queue.running(task.key):
            return True
        if not self.allows(task):
            return False
        task = self.mirrors.choose(task)
        demand = self.queue.demand(task)
        for name, _ in demand:
            if self.queue.registry(name).unavailable:
                self.doom(task, name)
                return True
        self.history.tell(self.now, task.key, "ready")
        self.queue.add(task, demand, alone=self.marks.get(task.key, 0) >= 2)  # noqa: PLR2004 - two deaths are suspicious
        return True

    def doom(self, task: Task, registry: str) -> None:
        """Let a task fail because it needs an unavailable registry."""
        fault = self.queue.registry(registry).unavailable
        assert fault is not None
        ask = next(ask for ask in task.asks if ask.repository.registry == registry)
        aimed = replace(
            fault,
            operation="ask the registry",
            side=ask.side,
            registry=registry,
            repository=ask.repository.path,
        )
        self.notices.append(TaskDoomed(task, aimed))

    def holds(self, repository: Repository, digest: str) -> bool:
        """Whether this run has seen that the repository holds the blob or manifest."""
        return self.facts.held(repository, digest) == self.run

    def confirm(self, repository: Repository, digest: str, *, is_blob: bool) -> None:
        """A destination has confirmed that it holds a blob or a manifest."""
        self.facts.write(Holding(repository=repository, digest=digest, is_blob=is_blob))
