"""The properties that every kind of task states: where it runs, which registries it asks, what it changes.

Queues, limits, workers and the supervisor read only these, so a new kind of task changes none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pipeline.settings import MIB

if TYPE_CHECKING:
    from pipeline.errors import Side
    from pipeline.model.manifest import Descriptor
    from pipeline.model.messages import Stage
    from pipeline.model.reference import Repository

SlotKind = Literal["request", "blob", "body"]
"""The load on a registry: a short request; a small blob, which costs hardly more; the body of a large one."""
LARGE_BLOB = 4 * MIB
"""Bytes from which a blob takes one of the few slots for bodies, where larger ones start first."""

ProcLimit = Literal["", "resolve", "copy"]
"""The two limits of --proc: on images that are resolved, and on blobs that are copied; empty: neither."""


class Ask(NamedTuple):
    """A repository that a task sends requests to, and the kind of slot it takes at the registry."""

    repository: Repository
    side: Side
    kind: SlotKind = "request"


class Transfer(NamedTuple):
    """A blob that is transferred."""

    source: Repository
    """Where it is read."""
    destination: Repository
    blob: Descriptor


class TaskFacts:
    """Defaults; each kind of task overrides what differs."""

    __slots__ = ()
    stage: ClassVar[Stage]
    """The stage whose workers run it."""
    bound: ClassVar[ProcLimit] = ""
    """The --proc limit that it counts towards."""
    pulls: ClassVar[bool] = False
    """Whether registries that limit pulls count it."""
    ends_images: ClassVar[bool] = False
    """Whether it precedes other tasks of its stage: it finishes images, so others can start."""
    is_optional: bool = False
    """Whether it only saves requests: its failure pauses no registry, and it waits for none."""
    key: str
    """Its identity."""

    def __post_init__(self) -> None:
        """Build the key once; it is read a dozen times."""
        object.__setattr__(self, "key", self.identity())

    def identity(self) -> str:
        """What makes two tasks the same: the key as it is built."""
        raise NotImplementedError

    @property
    def asks(self) -> tuple[Ask, ...]:
        """Where it sends requests; of two repositories in one registry, errors name the first."""
        raise NotImplementedError

    @property
    def asks_if_mounted(self) -> tuple[Ask, ...]:
        """What it asks if a shorter way succeeds, tried at one registry; empty if there is none."""
        return ()

    @property
    def transfer(self) -> Transfer | None:
        """The blob that it transfers; None: it transfers none."""
        return None

    @property
    def size(self) -> int:
        """Bytes of the blob: large ones start first."""
        return 0

    @property
    def writes_to(self) -> Repository | None:
        """The repository that it writes to; None: it only reads."""
        return None

    @property
    def enters(self) -> bool:
        """Whether it precedes the first write to a repository; the records note that on disk beforehand."""
        return False
