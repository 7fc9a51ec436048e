"""What there is to know of a task whatever its kind: where it runs, whom it asks, what it changes.

Queues, limits, workers and the supervisor read these facts, so that a new kind of task changes none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

if TYPE_CHECKING:
    from pipeline.errors import Side
    from pipeline.model.messages import Stage
    from pipeline.model.reference import Repository

SlotKind = Literal["request", "body"]
"""What a task is for a registry: a short request, or bytes that flow for a while."""


class Ask(NamedTuple):
    """A repository that a task asks, and so the registry at which it needs a place."""

    repository: Repository
    side: Side
    kind: SlotKind = "request"


class TaskFacts:
    """The facts of a task that has nothing special; each kind of task says how it differs."""

    __slots__ = ()
    stage: ClassVar[Stage]
    """Whose workers run it."""
    bound: ClassVar[Literal["", "resolve", "move"]] = ""
    """Which of the two counts that --proc bounds it belongs to."""
    ends_images: ClassVar[bool] = False
    """Whether it goes before the other tasks of its stage, since it ends images and so frees the window."""

    @property
    def asks(self) -> tuple[Ask, ...]:
        """Whom it asks; where one registry comes twice, the first repository is named when it fails."""
        raise NotImplementedError

    @property
    def writes_to(self) -> Repository | None:
        """The repository that it changes; None: it only reads."""
        return None

    @property
    def enters(self) -> bool:
        """Whether it is a run's first step into a repository, which the records tell on disk before."""
        return False
