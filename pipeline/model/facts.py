"""Facts: what the records hold about destinations, and the port through which Flow reads them.

The destination is the truth; a fact saves a request. A fact of this run is trusted, one of an earlier run is
a place to mount from and is confirmed before a manifest relies on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from pipeline.model.reference import Repository

Result = Literal["copied", "unchanged", "skipped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A destination has confirmed that a repository holds a blob or a manifest."""

    repository: Repository
    digest: str
    is_blob: bool
    """Blobs serve as mount sources."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldingForgotten:
    """A repository was found not to hold what it was believed to hold."""

    repository: Repository
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryEntered:
    """This program is about to write into a destination repository.

    Known before the first blob is sent: a run that is killed leaves blobs that no tag list shows, and the
    next one must not take the repository for new.
    """

    repository: Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedUpload:
    """A blob that has gone up in part, and can go on from there."""

    repository: Repository
    digest: str
    url: str = field(repr=False)
    """The upload's session; a secret. Empty: there is none any more."""
    offset: int
    """Bytes that the registry has confirmed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Which rule's source a destination reference gets in a run."""

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
    """What became of one image."""

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
    """Digest that the destination reference has now, as far as we know."""
    fault: str = ""
    """One line; of a failed or skipped image."""
    retryable: bool = False
    side: str = ""
    """Of a failed image, as in Fault: by side, registry, status and code failures are told apart."""
    registry: str = ""
    status: int = 0
    """HTTP status; 0: no answer came."""
    code: str = ""
    hint: str = ""
    when: str = ""
    """When it came to that, where it is to be handed over as a record: date and time as in ISO 8601."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """How the run stands, for who looks at the records from elsewhere; a run never reads it."""

    text: str
    """JSON, made and read by report/standing.py."""


Fact = Holding | HoldingForgotten | RepositoryEntered | UnfinishedUpload | Claim | ImageRow | RunRow


class Facts(Protocol):
    """What Flow may ask of the records, and tell them; each answer takes some ten microseconds."""

    def write(self, fact: Fact) -> None:
        """Keep a fact: from now on the answers below know it; it is on disk soon after."""
        ...

    def held(self, repository: Repository, digest: str) -> str:
        """The run that last confirmed it; empty: nothing is known."""
        ...

    def mount_sources(self, registry: str, digest: str) -> tuple[str, ...]:
        """Paths of at most 3 repositories of the registry that are known to hold the blob, newest first."""
        ...

    def entered(self, repository: Repository) -> bool:
        """Whether any run has begun to write into the repository."""
        ...

    def unfinished(self, repository: Repository, digest: str) -> UnfinishedUpload | None:
        """The blob's upload that was begun and not finished, in whichever run."""
        ...

    def image(self, source: str, destination: str, platforms: str) -> ImageRow | None:
        """What became of the image last, in whichever run; `platforms` is the filter's text."""
        ...

    def claim(self, destination: str) -> Claim | None:
        """Who claimed the destination reference last, in whichever run."""
        ...

    def again(self, run: str, after: str) -> tuple[tuple[ImageRow, ...], str]:
        """A page of images of the run that failed and may succeed, in key order.

        Args:
            run: the run.
            after: the mark that the page before gave; empty: the first page.

        Returns:
            At most 1,000 rows, and the mark of the next page (empty: this was the last one).
        """
        ...
