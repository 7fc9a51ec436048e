"""Facts: what the records hold about destinations, and the interface through which the scheduler reads them.

The destination is the truth; a fact only saves requests. A fact of this run is trusted. A fact of an earlier
run serves as a mount source and is confirmed before a manifest relies on it.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from pipeline.dataclass import dataclass

if TYPE_CHECKING:
    from pipeline.model.reference import Repository

Result = Literal["copied", "unchanged", "kept", "held", "skipped", "failed"]
"""Kept: the tag is there, and its rule never moves it. Held: the digest was first seen too recently."""
RESULTS: tuple[Result, ...] = get_args(Result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A destination has confirmed that a repository holds a blob or a manifest."""

    repository: Repository
    digest: str
    is_blob: bool
    """Whether it can serve as a mount source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldingForgotten:
    """A repository does not hold what a Holding says."""

    repository: Repository
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryEntered:
    """The run is about to write to a destination repository.

    Stored before the first blob is sent: a killed run leaves blobs that no tag list shows, and the next run
    must not take the repository for a new one.
    """

    repository: Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedUpload:
    """A partly uploaded blob that can be resumed."""

    repository: Repository
    digest: str
    url: str = field(repr=False)
    """The upload's URL; a secret. Empty: the upload ended."""
    offset: int
    """Bytes that the registry has confirmed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The rule and source that a destination reference belongs to in a run."""

    destination: str
    """The reference as text."""
    run: str
    rule: int
    """The rule's number."""
    line: int
    """The rule's line in its file."""
    source: str
    """The reference as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRow:
    """The result of one image."""

    source: str
    """The reference as text."""
    destination: str
    """The reference as text."""
    filter: str
    """The platform filter in its canonical text; empty: none."""
    run: str
    rule: int
    """The rule's number."""
    result: Result
    source_digest: str = ""
    destination_digest: str = ""
    """Digest of the destination reference after the run, as far as known."""
    fault: str = ""
    """One line, if the image failed or was skipped."""
    retryable: bool = False
    side: str = ""
    """Of a failed image, as in Fault; side, registry, status and code identify the cause."""
    registry: str = ""
    status: int = 0
    """HTTP status; 0: no response."""
    code: str = ""
    hint: str = ""
    companions_owed: int = 0
    """Companions that are known to be missing at the destination: the next run looks for them."""
    when: str = ""
    """Date and time in ISO 8601; set only for output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstSeen:
    """When a run first saw a tag of a source with a digest."""

    repository: Repository
    tag: str
    digest: str
    """Empty: the tag with any digest."""
    when: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """The state of the run, for other processes that read the records; a run never reads it."""

    text: str
    """JSON, written and read by observe/run_state.py."""


Fact = (
    Holding | HoldingForgotten | RepositoryEntered | UnfinishedUpload | Claim | ImageRow | FirstSeen | RunRow
)


class Facts(Protocol):
    """The scheduler's view of the records; each call takes about ten microseconds."""

    def write(self, fact: Fact) -> None:
        """Write a fact: visible to the methods below at once, on disk soon after."""
        ...

    def held(self, repository: Repository, digest: str) -> str:
        """The run that last confirmed the Holding; empty: none."""
        ...

    def mount_sources(self, registry: str, digest: str) -> tuple[str, ...]:
        """Paths of at most 3 repositories of the registry known to hold the blob, newest first."""
        ...

    def entered(self, repository: Repository) -> bool:
        """Whether any run has started to write to the repository."""
        ...

    def unfinished(self, repository: Repository, digest: str) -> UnfinishedUpload | None:
        """The blob's unfinished upload, of any run."""
        ...

    def image(self, source: str, destination: str, platforms: str) -> ImageRow | None:
        """The last result of the image, of any run; `platforms` is the filter's text."""
        ...

    def knows(self, repository: Repository) -> bool:
        """Whether any run has had an image with this source."""
        ...

    def claim(self, destination: str) -> Claim | None:
        """The last claim on the destination reference, of any run."""
        ...

    def first_seen(self, repository: Repository, tag: str, digest: str) -> float | None:
        """When the tag was first seen with the digest ("": with any), in seconds since 1970; None: never."""
        ...

    def again(self, run: str, after: str) -> tuple[tuple[ImageRow, ...], str]:
        """A page of the run's images that failed and are retryable, in key order.

        Args:
            run: the run.
            after: the position that the previous page returned; empty: the first page.

        Returns:
            At most 1,000 rows, and the position of the next page (empty: this was the last one).
        """
        ...
