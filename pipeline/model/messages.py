"""Messages between the supervisor and its workers: tasks, outcomes and progress.

All are small; the largest part is a manifest of at most 4 MiB, the one secret an unfinished upload's URL.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, ClassVar, Literal

from pipeline.dataclass import dataclass
from pipeline.model.budget import Spent
from pipeline.model.cost import FREE, Cost
from pipeline.model.life_signs import Alive, BootFailed
from pipeline.model.listing_tasks import ListDigests, ListRepositories, ListTags
from pipeline.model.referrers import ListReferrers, Referrer
from pipeline.model.task import LARGE_BLOB, Ask, ProcLimit, TaskFacts, Transfer

if TYPE_CHECKING:
    from pipeline.errors import Fault, Side
    from pipeline.log import Event
    from pipeline.model.catalogue import ListedTagPage, RepositoryPage
    from pipeline.model.manifest import Descriptor, Manifest
    from pipeline.model.reference import Reference, Repository
    from pipeline.model.task import SlotKind

Stage = Literal["expand", "resolve", "transfer"]
BlobOrigin = Literal["present", "mounted", "uploaded", "left"]
"""How a blob got into its repository; left: not copied, its `urls` serve it."""
STAGES: tuple[Stage, ...] = ("expand", "resolve", "transfer")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadManifests(TaskFacts):
    """HEAD one source and each of its destinations."""

    stage: ClassVar[Stage] = "resolve"
    bound: ClassVar[ProcLimit] = "resolve"
    source: Reference | None
    """None: only the destinations are asked, to confirm that child manifests are present."""
    destinations: tuple[Reference, ...]
    listed: str = ""
    """The source's digest by a listing; empty: the source is asked."""
    key: str = field(init=False, repr=False, compare=False)

    def identity(self) -> str:
        """All references."""
        known = f"@{self.listed}" if self.listed else ""
        return f"look {self.source or ''}{known} -> {' '.join(map(str, self.destinations))}"

    @property
    def asks(self) -> tuple[Ask, ...]:
        """The source before the destinations."""
        there = tuple(Ask(each.repository, "destination") for each in self.destinations)
        asked = self.source if not self.listed else None
        return there if asked is None else (Ask(asked.repository, "source"), *there)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchManifest(TaskFacts):
    """GET one manifest by digest."""

    stage: ClassVar[Stage] = "resolve"
    bound: ClassVar[ProcLimit] = "resolve"
    pulls: ClassVar[bool] = True
    repository: Repository
    digest: str
    side: Side = "source"
    config: bool = False
    """Whether to read the config of a single image too, for its platform."""
    mirror: Repository | None = field(default=None, compare=False)
    """Where to read it instead; None: at the repository itself."""
    reserve: int = -1
    """Only if more pulls than that are left, which HEAD tells; -1: in any case."""
    key: str = field(init=False, repr=False, compare=False)

    def identity(self) -> str:
        """Repository, digest, side, and whether the config is read too."""
        more = ("+config" if self.config else "") + ("!" if self.side == "destination" else "")
        return f"read {self.repository}@{self.digest}{more}"

    @property
    def read_from(self) -> Repository:
        """Where it is read."""
        return self.mirror or self.repository

    @property
    def asks(self) -> tuple[Ask, ...]:
        """Where it is read."""
        return (Ask(self.read_from, self.side),)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadCheckpoint:
    """An unfinished upload and the bytes that the registry has confirmed."""

    url: str = field(repr=False)
    """The upload's URL; a secret: whoever has it can write there."""
    offset: int
    """Bytes that the registry has confirmed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyBlob(TaskFacts):
    """Copy one blob into one repository."""

    stage: ClassVar[Stage] = "transfer"
    bound: ClassVar[ProcLimit] = "copy"
    source: Repository
    blob: Descriptor
    destination: Repository
    ask: bool
    """HEAD the destination first."""
    mount: str = ""
    """Path of a repository in the destination's registry to mount from; empty: none is known."""
    check: bool = False
    """Read it back with HEAD when done: a registry's first blob, and mounts until one is found."""
    session: UploadCheckpoint | None = None
    """Where an earlier attempt, of this run or another, stopped; added when the task is dispatched."""
    mirror: Repository | None = field(default=None, compare=False)
    """Where to read it instead of at the source; None: there."""
    key: str = field(init=False, repr=False, compare=False)

    def identity(self) -> str:
        """Destination repository and digest."""
        return f"move {self.destination}@{self.blob.digest}"

    @property
    def read_from(self) -> Repository:
        """Where it is read."""
        return self.mirror or self.source

    @property
    def asks(self) -> tuple[Ask, ...]:
        """Both sides."""
        kind: SlotKind = "blob" if 0 <= self.blob.size < LARGE_BLOB else "body"
        return Ask(self.destination, "destination", kind), Ask(self.read_from, "source", kind)

    @property
    def asks_if_mounted(self) -> tuple[Ask, ...]:
        """The destination alone, for a short request, where the registry mounts the blob."""
        return (Ask(self.destination, "destination"),) if self.mount else ()

    @property
    def transfer(self) -> Transfer:
        """From where it is read to the destination."""
        return Transfer(self.read_from, self.destination, self.blob)

    @property
    def size(self) -> int:
        """The blob's."""
        return self.blob.size

    @property
    def writes_to(self) -> Repository:
        """The destination."""
        return self.destination


@dataclass(frozen=True, slots=True, kw_only=True)
class PushManifest(TaskFacts):
    """PUT one manifest under a tag or its digest."""

    stage: ClassVar[Stage] = "transfer"
    ends_images: ClassVar[bool] = True
    destination: Reference
    media_type: str
    digest: str
    content: bytes
    check: bool = False
    """Read it back with HEAD: the first manifest of a registry in a run, and what was damaged."""
    merges: bool = False
    """Whether its entries are added to those that the tag has: see stages/companions.py."""
    no_api: bool = False
    """Whether the registry is known to have no referrers API."""
    turn: str = ""
    """Distinguishes tasks that take turns at one tag."""
    key: str = field(init=False, repr=False, compare=False)

    def identity(self) -> str:
        """The destination, and the turn."""
        return f"put {self.destination}{self.turn}"

    @property
    def need(self) -> str:
        """Key of the manifest in the scheduler's ledger."""
        return self.key.removeprefix("put ")

    @property
    def asks(self) -> tuple[Ask, ...]:
        """The destination."""
        return (Ask(self.destination.repository, "destination"),)

    @property
    def writes_to(self) -> Repository:
        """The destination's repository."""
        return self.destination.repository


Task = (
    ListTags
    | ListDigests
    | ListRepositories
    | HeadManifests
    | FetchManifest
    | ListReferrers
    | CopyBlob
    | PushManifest
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A worker's result for a task; only TaskLost is made by the supervisor itself."""

    key: str
    """The task's key."""
    cost: Cost = FREE
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TagsListed(Outcome):
    """One page of a tag list, as sent: unsorted, duplicates and bad names included."""

    tags: tuple[str, ...]
    next: str = ""
    """The query of the next page; empty: this was the last one."""
    guessed: bool = False
    """Whether `next` was inferred from an exactly full page, without a Link header."""
    missing: bool = False
    """404: the repository does not exist; reported only for a destination, a Fault for a source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestsListed(Outcome):
    """One page of tags with their digests."""

    page: ListedTagPage | None
    """None: the registry has no such listing."""
    kind: str = ""
    """Of the catalogue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoriesListed(Outcome):
    """One page of the repositories of a namespace."""

    page: RepositoryPage
    kind: str = ""
    """Of the catalogue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestHead:
    """An existing manifest, as HEAD described it."""

    digest: str
    media_type: str = ""
    """From Content-Type; may be empty or wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestsHeaded(Outcome):
    """The digests on both sides."""

    source: ManifestHead | Fault | None
    """None: not asked. A missing source is a Fault."""
    destinations: tuple[ManifestHead | Fault | None, ...]
    """In the order of the task; None: missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestFetched(Outcome):
    """A manifest that was read and matches its digest."""

    manifest: Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobCopied(Outcome):
    """A blob is in its repository, or its `urls` serve it."""

    how: BlobOrigin
    refused: bool = False
    """Whether the registry refused a mount (202, or an error)."""
    doubt: Fault | None = None
    """Of a plan: why the destination could not tell whether it has the blob."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestPushed(Outcome):
    """A manifest is stored."""

    stored: bool = True
    """Whether it had to be; False: the tag had all its entries."""
    registered: bool = False
    """Whether the registry lists it among the referrers of its subject."""
    no_api: bool = False
    """Whether the registry was found to have no referrers API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferrersListed(Outcome):
    """The companions of a manifest at the source."""

    referrers: tuple[Referrer, ...]
    """Each digest once."""
    tags: tuple[tuple[str, str], ...] = ()
    """The existing tags of cosign, with their digests."""
    api: bool | None = None
    """Whether the registry has a referrers API; None: it was not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferencesMissing(Outcome):
    """The registry refused a manifest that references unknown content."""

    fault: Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailed(Outcome):
    """The task failed after all its attempts."""

    fault: Fault
    refused: bool = False
    """Of a CopyBlob: whether the registry refused a mount before the failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttled(Outcome):
    """A registry limits the rate; the task is dispatched again, not counted as an attempt."""

    fault: Fault
    delay: float
    """Seconds."""
    asked: float = 0.0
    """Seconds that the registry itself asked for; 0: not stated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLost(Outcome):
    """The worker died. Made by the supervisor, never sent."""

    reason: str
    """The exit status in words."""
    begun: bool
    """Whether the task was running; a task that only waited in the inbox is not counted as an attempt."""
    alone: bool = False
    """Whether no other task ran beside it: then the task itself killed the worker."""
    fenced: bool = False
    """Whether the worker may have continued unseen, and written its result to the registry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BytesTransferred:
    """Progress of a running task, at most 4 times a second."""

    key: str
    sent: int = 0
    """Bytes transferred in the current attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadProgress:
    """Where a running CopyBlob can resume: what the registry has confirmed."""

    key: str
    session: UploadCheckpoint | None
    """None: the upload cannot be resumed any more."""


WorkerMessage = Outcome | BytesTransferred | UploadProgress | Spent | Alive | BootFailed
