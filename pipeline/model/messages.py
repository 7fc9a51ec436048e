"""Tasks, outcomes and progress: what crosses between the supervisor and its workers.

All are small frozen records (a manifest's bytes, at most 4 MiB, are the largest part), so that another engine
can carry them over a network. The one secret in them is the address of an unfinished upload. A task's key is
its identity in Flow and in every story.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pipeline.model.fast_pickle import fast_pickle
from pipeline.model.task import Ask, TaskFacts

if TYPE_CHECKING:
    from pipeline.errors import Fault, Side
    from pipeline.log import Event
    from pipeline.model.manifest import Descriptor, Manifest
    from pipeline.model.reference import Reference, Repository

Stage = Literal["expand", "resolve", "transfer"]
RequestTopic = Literal["", "tags", "manifest", "blob", "upload"]
"""What a request is about; empty: a token, or something on a host that a registry sent us to."""
BlobOrigin = Literal["present", "mounted", "uploaded", "left"]
"""How a blob came to be in its repository; left: to its urls."""
STAGES: tuple[Stage, ...] = ("expand", "resolve", "transfer")


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class ListTags(TaskFacts):
    """Ask for one page of a tag list."""

    stage: ClassVar[Stage] = "expand"
    repository: Repository
    side: Side = "source"
    """Destination: only to learn whether the repository is there at all."""
    page: str = ""
    """The query of the page as the registry's link gave it; empty: the first page."""
    count: int
    """Tags asked for."""

    key: str = field(init=False, repr=False, compare=False)
    """Identity: repository and page."""

    def __post_init__(self) -> None:
        """Make the key, which is asked for a dozen times."""
        there = "!" if self.side == "destination" else ""
        object.__setattr__(self, "key", f"expand {self.repository}?{self.page}{there}")

    @property
    def asks(self) -> tuple[Ask, ...]:
        """The repository."""
        return (Ask(self.repository, self.side),)

    @property
    def enters(self) -> bool:
        """A destination is asked only when it is entered."""
        return self.side == "destination"


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class HeadManifests(TaskFacts):
    """HEAD one source and each of its destinations."""

    stage: ClassVar[Stage] = "resolve"
    bound: ClassVar[Literal["", "resolve", "move"]] = "resolve"
    source: Reference | None
    """None: only the destinations are asked (child manifests whose presence is to be confirmed)."""
    destinations: tuple[Reference, ...]

    key: str = field(init=False, repr=False, compare=False)
    """Identity: all references."""

    def __post_init__(self) -> None:
        """Make the key, which is asked for a dozen times."""
        key = f"look {self.source or ''} -> {' '.join(map(str, self.destinations))}"
        object.__setattr__(self, "key", key)

    @property
    def asks(self) -> tuple[Ask, ...]:
        """The source before the destinations."""
        there = tuple(Ask(each.repository, "destination") for each in self.destinations)
        return there if self.source is None else (Ask(self.source.repository, "source"), *there)


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class FetchManifest(TaskFacts):
    """GET one manifest by digest."""

    stage: ClassVar[Stage] = "resolve"
    bound: ClassVar[Literal["", "resolve", "move"]] = "resolve"
    repository: Repository
    digest: str
    side: Side = "source"
    config: bool = False
    """Whether the config of a single image is read too, for its platform."""

    key: str = field(init=False, repr=False, compare=False)
    """Identity: repository, digest, side, and whether the config is read too."""

    def __post_init__(self) -> None:
        """Make the key, which is asked for a dozen times."""
        more = ("+config" if self.config else "") + ("!" if self.side == "destination" else "")
        object.__setattr__(self, "key", f"read {self.repository}@{self.digest}{more}")

    @property
    def asks(self) -> tuple[Ask, ...]:
        """The repository."""
        return (Ask(self.repository, self.side),)


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class UploadCheckpoint:
    """An unfinished upload, as far as the registry has confirmed it."""

    url: str = field(repr=False)
    """Where it goes on; a secret: who has it can write there."""
    offset: int
    """Bytes that the registry has."""


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class CopyBlob(TaskFacts):
    """Bring one blob into one repository."""

    stage: ClassVar[Stage] = "transfer"
    bound: ClassVar[Literal["", "resolve", "move"]] = "move"
    source: Repository
    blob: Descriptor
    destination: Repository
    ask: bool
    """HEAD the destination first."""
    mount: str = ""
    """Path of a repository of the destination's registry to mount from; empty: none is known."""
    check: bool = False
    """Read the blob back by HEAD when done: a registry's first in a run, and mounts until one is found."""
    session: UploadCheckpoint | None = None
    """What an earlier try, in this run or another, has left; added when the task is given out."""

    key: str = field(init=False, repr=False, compare=False)
    """Identity: destination repository and digest."""

    def __post_init__(self) -> None:
        """Make the key, which is asked for a dozen times."""
        object.__setattr__(self, "key", f"move {self.destination}@{self.blob.digest}")

    @property
    def asks(self) -> tuple[Ask, ...]:
        """Both, for bytes that flow from one to the other."""
        return Ask(self.destination, "destination", "body"), Ask(self.source, "source", "body")

    @property
    def asks_to_mount(self) -> tuple[Ask, ...]:
        """Whom it asks where its mount is given."""
        return (Ask(self.destination, "destination"),)

    @property
    def writes_to(self) -> Repository:
        """The destination."""
        return self.destination


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class PushManifest(TaskFacts):
    """Store one manifest under a tag or its digest."""

    stage: ClassVar[Stage] = "transfer"
    ends_images: ClassVar[bool] = True
    destination: Reference
    media_type: str
    digest: str
    content: bytes
    check: bool = False
    """Read it back by HEAD: the first one of a registry in a run."""

    key: str = field(init=False, repr=False, compare=False)
    """Identity: the destination."""

    def __post_init__(self) -> None:
        """Make the key, which is asked for a dozen times."""
        object.__setattr__(self, "key", f"put {self.destination}")

    @property
    def asks(self) -> tuple[Ask, ...]:
        """The destination."""
        return (Ask(self.destination.repository, "destination"),)

    @property
    def writes_to(self) -> Repository:
        """The destination's repository."""
        return self.destination.repository


Task = ListTags | HeadManifests | FetchManifest | CopyBlob | PushManifest


class RequestRecord(NamedTuple):
    """One request, for metrics."""

    registry: str
    method: str
    status: int
    """0: no answer came."""
    seconds: float
    """Until the answer began; -1: it was only foreseen."""
    pulls_left: int
    """What the registry said of its rate limit; -1: nothing."""
    what: RequestTopic = ""
    pulls_limit: int = -1
    """So many it lets through within `pulls_window` seconds; -1: it did not say."""
    pulls_window: int = -1


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one task cost."""

    requests: tuple[tuple[str, int], ...] = ()
    """Requests by registry, token requests under the registry that they were for."""
    read: int = 0
    """Bytes of bodies received."""
    written: int = 0
    """Bytes of bodies sent."""
    seconds: float = 0.0
    waited: tuple[tuple[str, float], ...] = ()
    """Seconds from requests to the heads of their answers, all together, by registry."""
    retries: tuple[tuple[str, str], ...] = ()
    """Registry, and status or word of ours, of each try that was repeated."""
    asked: tuple[RequestRecord, ...] = ()
    """Its requests one by one, where Settings.timed asks for it."""
    foreseen: int = 0
    """Of its requests: those that a plan only foresees; so are the bytes of their bodies."""


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a worker answers to a task; Lost is the only one that the supervisor makes itself."""

    key: str
    """The task's."""
    cost: Cost = Cost()
    events: tuple[Event, ...] = ()


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class TagsListed(Outcome):
    """One page of a tag list, as sent: unsorted, duplicates and bad names included."""

    tags: tuple[str, ...]
    next: str = ""
    """The query of the next page; empty: this was the last one."""
    guessed: bool = False
    """Whether no link, but a page that was exactly full, made us ask for a next one."""
    missing: bool = False
    """404: there is no such repository (an answer only where side is destination)."""


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestHead:
    """A manifest that is there, as HEAD described it."""

    digest: str
    media_type: str = ""
    """As the Content-Type said; may be empty or wrong."""


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestsHeaded(Outcome):
    """Digests of both sides."""

    source: ManifestHead | Fault | None
    """None: was not asked. A source that is not there is a Fault."""
    destinations: tuple[ManifestHead | Fault | None, ...]
    """In the order of the task; None: not there."""


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestFetched(Outcome):
    """A manifest that was read; its digest is right."""

    manifest: Manifest


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class BlobCopied(Outcome):
    """A blob is in its repository, or was left to its urls."""

    how: BlobOrigin
    refused: bool = False
    """A mount was asked for and not given (202, or an error)."""


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestPushed(Outcome):
    """A manifest is stored."""


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class ReferencesMissing(Outcome):
    """The registry refused a manifest because it does not know what it names."""

    fault: Fault
    digests: tuple[str, ...]
    """As the registry named them; may be empty."""


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailed(Outcome):
    """The task failed after its tries."""

    fault: Fault
    refused: bool = False
    """Of a Move: a mount was asked for and not given before it failed."""


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class Throttled(Outcome):
    """A registry asks for a pause; the task is to be given out again, uncharged."""

    fault: Fault
    delay: float
    """Seconds."""
    asked: float = 0.0
    """Of them: those that the registry itself asked for; 0: it did not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLost(Outcome):
    """The worker died. Made by the supervisor, never sent."""

    reason: str
    """The exit status in words."""
    begun: bool
    """Whether the task was running; one that lay in the inbox goes back uncharged."""
    alone: bool = False
    """Whether nothing else ran beside it: then the task itself killed the worker."""
    fenced: bool = False
    """Whether the worker may have run on for a while, unseen: what it was to bring may be there by now."""


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class BytesMoved:
    """A running task's word, at most 4 a second."""

    key: str
    sent: int = 0
    """Bytes moved so far in the present try."""


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class UploadProgress:
    """A worker's word on a running Move: what its registry has confirmed, to go on from after any death."""

    key: str
    session: UploadCheckpoint | None
    """None: there is nothing any more from which it could go on."""


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """A worker's word: once when it is ready, then every 5 s while tasks run; a stopped worker sends none."""


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class BootFailed:
    """A worker's last word when it cannot begin: another one would not either."""

    reason: str
    """One line, no secrets."""


Answer = Outcome | BytesMoved | UploadProgress | Alive | BootFailed
