"""The interface of a place that holds images: all that the stages know of a registry.

The conformance suite (tests/registry/test_conformance_*.py) tests it, against the scripted registry and real
ones. For every method:

- One call is one operation. Failures that a second request can cure (a lost connection, 500, 503) are retried
  inside, so a caller never retries them. The exception is the upload of a blob's body: the caller retries,
  since only it can open the source again.
- RegistryError is final for the task. ThrottledError asks for a pause: the scheduler waits, then gives the
  task out again. Both name the side, the host that failed, and its words.
- None means "not there", and only if the store says so: an answer that is not understood is an error.
- Any thread may call it. No call changes what a later call means.
- Reading may be repeated at will. Content is addressed by digest, so writing the same bytes again changes
  nothing: a task whose worker died may always run again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from pipeline.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from pipeline.errors import Fault
    from pipeline.http.transport import Pieces
    from pipeline.model.catalogue import CatalogueKind, ListedTagPage, RepositoryPage
    from pipeline.model.messages import ManifestHead
    from pipeline.model.reference import Reference, Repository
    from pipeline.model.referrers import Referrer
    from pipeline.registry.listing import ReferrerPage, TagPage


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredManifest:
    """How a store took a manifest."""

    confirmed: bool
    """Whether it confirmed the digest."""
    registered: bool = False
    """Whether it lists the manifest among the referrers of its subject from now on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedManifest:
    """What a tag points to."""

    content: bytes
    media_type: str
    etag: str
    """For `only_if` of `put_manifest`; empty: the store sent none."""


class BlobReader(Protocol):
    """An open blob, read once from `offset` to its end by one thread. The caller closes it."""

    offset: int
    """Where it starts: the requested offset, or 0 if the store ignores it."""
    total: int
    """Bytes of the whole blob as the store states it; -1: not stated."""
    etag: str
    """For `open_blob`, to resume only if the content is the same; empty: the store sent none."""

    def __enter__(self) -> Self:
        """Enter the context."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, whether or not it was read to its end."""
        ...

    def __iter__(self) -> Iterator[memoryview]:
        """Its bytes, not checked against the digest; each piece is valid until the next one.

        Raises:
            RegistryError: it broke off, or stalls. The caller may open it again at that offset.
        """
        ...

    def skip(self, count: int) -> None:
        """Read and discard that many bytes."""
        ...


class UploadSession(Protocol):
    """A blob that is being written by one thread. It does not exist until it is committed.

    Nothing is retried here. After an error of `put` or `patch` the store may have all, some or none of the
    bytes: ask with `ask_offset`, or begin a new upload.
    """

    url: str
    """What `resume_upload` takes, in any process; a secret, and new after each answer."""
    refused: bool
    """Whether the store refused a mount."""
    least: int
    """Minimum bytes of a part except the last; 0: none. For `UploadPlan.parts`."""
    most: int
    """Maximum bytes of a part; 0: none."""

    def put(self, body: Pieces, *, offset: int = 0) -> bool:
        """Send all that is left and commit; whether the store confirmed the digest. Call it once.

        An exception from reading `body` passes through unchanged, and nothing is committed.
        """
        ...

    def patch(self, body: Pieces, *, offset: int | None) -> int:
        """Send a part; how many bytes of the blob the store has now.

        `offset` None: it is the whole blob, sent without a range.
        """
        ...

    def commit(self) -> bool:
        """Commit an upload whose bytes were all sent in parts; returns as `put` does."""
        ...

    def ask_offset(self, *, least: int, most: int) -> int | None:
        """How many bytes the store has, between `least` and `most`; None: the upload must start over."""
        ...

    def cancel(self) -> bool:
        """Discard the upload; whether the store agreed. Optional: unfinished uploads expire."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadPart:
    """One request of an upload."""

    count: int
    """Bytes."""
    last: bool = False
    """Whether it commits too (`put`). If no part does, `commit` follows."""
    ranged: bool = True
    """Whether it states its offset, so that the upload can resume after it."""


class UploadPlan(Protocol):
    """How one blob is uploaded, over all attempts of one thread. Makes no request."""

    def parts(self, size: int, *, offset: int = 0, least: int = 0, most: int = 0) -> Iterator[UploadPart]:
        """The parts of the next attempt; ask for one when the store has accepted the one before.

        Args:
            size: bytes of the whole blob.
            offset: where a session resumes; 0: a new session.
            least: of the new session.
            most: of the new session.
        """
        ...

    def fail(self, fault: Fault, *, size: int, offset: int, resumed: bool) -> bool:
        """The last attempt failed at the destination; whether it is worth another one in other parts.

        Args:
            fault: why.
            size: bytes of the whole blob.
            offset: bytes that the session has; 0: there is none to resume.
            resumed: whether the attempt resumed a session.
        """
        ...

    def succeed(self) -> None:
        """The blob is uploaded: plans of other blobs avoid what failed before."""
        ...


class ImageStore(Protocol):
    """A place with repositories of manifests, tags and blobs."""

    def tags(self, repository: Repository, *, page: str, count: int) -> TagPage:
        """One page of the tags. A missing repository is an error with status 404.

        Pages may be read at different times: tags that change in between may be missing or appear twice.

        Args:
            repository: whose tags.
            page: `next` of the page before; empty: the first page.
            count: tags wanted; a page may have more or fewer.
        """
        ...

    def referrers(
        self, repository: Repository, digest: str, *, page: str = "", artifact_type: str = ""
    ) -> ReferrerPage | None:
        """One page of the artifacts whose subject is `digest`; None: the store cannot list them.

        An empty page says that there are none, also if nothing has this digest. After None, the fallback tag
        (`tagged_referrers`) decides. Stores differ as a whole, rarely by repository; the caller remembers
        None, not the store. A store that learned to list referrers later may miss older ones, which only the
        fallback tag has. A referrer that was just pushed may appear seconds later.

        Args:
            repository: where; referrers in other repositories do not count.
            digest: the subject's.
            page: `next` of the page before; empty: the first page.
            artifact_type: only these; empty: all. A referrer of unknown type is always listed.
        """
        ...

    def tagged_referrers(self, repository: Repository, digest: str) -> tuple[Referrer, ...]:
        """The artifacts that the fallback tag of `digest` lists; empty: no such tag, or not an index."""
        ...

    def head_manifest(self, reference: Reference, *, sure: bool = False) -> ManifestHead | None:
        """Digest and type of a manifest; None: not there.

        `sure`: a "not there" is confirmed by reading, since a cache may not have fetched it yet.
        """
        ...

    def get_manifest(self, reference: Reference, *, limit: int, fresh: bool = False) -> tuple[bytes, str]:
        """The exact bytes of a manifest, and its type. A missing one is an error with status 404.

        The bytes are not checked: after a wrong digest the caller may ask once more with `fresh`, which
        bypasses caches. More than `limit` bytes are an error (TOO_LARGE).
        """
        ...

    def get_tag(self, reference: Reference, *, limit: int) -> TaggedManifest | None:
        """What a tag points to, unchecked; None if there is no such tag. `limit` as above."""
        ...

    def put_manifest(
        self, reference: Reference, content: bytes, *, media_type: str, digest: str, only_if: str = ""
    ) -> StoredManifest:
        """Store exactly these bytes under a tag or their digest.

        Idempotent, and retried inside: if the answer is lost and this very manifest is there, that is a
        success. A tag that points to another manifest moves. Blobs and children must be there before; a
        subject need not. `only_if`: the `etag` that the tag must have; the store may ignore it, else another
        one is an error with status 412.

        Raises:
            LackingError: the store does not have a blob or manifest that it names.
        """
        ...

    def head_blob(
        self, repository: Repository, digest: str, *, size: int = -1, sure: bool = False
    ) -> int | None:
        """Size of a blob, -1: not stated; None: not there.

        Args:
            repository: where; other repositories do not count.
            digest: the blob's.
            size: its size by the manifest, -1: unknown; another answer is checked by reading one byte.
            sure: as for `head_manifest`.
        """
        ...

    def open_blob(
        self,
        repository: Repository,
        digest: str,
        *,
        size: int,
        offset: int = 0,
        etag: str = "",
        fresh: bool = False,
    ) -> BlobReader:
        """Open a blob. Another size than `size` (-1: unknown) is an error.

        The store may ignore `offset`: `BlobReader.offset` says where it begins. With `etag`, a blob that has
        changed begins at 0. `fresh` bypasses caches.
        """
        ...

    def plan_upload(self) -> UploadPlan:
        """How to upload one blob, by what the store is known to support."""
        ...

    def begin_upload(self, repository: Repository, digest: str, *, mount: str = "") -> UploadSession | None:
        """Begin to write a blob; None: it is there now, because it was mounted.

        May be repeated: each call begins an upload of its own; abandoned ones expire. A blob that is there
        may be written again.

        Args:
            repository: where to write it.
            digest: the blob's.
            mount: path of a repository of this store that may have it; a refusal begins an upload.
        """
        ...

    def resume_upload(self, repository: Repository, digest: str, *, url: str) -> UploadSession:
        """An upload that any process began, by its `url`. Makes no request, so it may be gone."""
        ...


class Catalogue(Protocol):
    """What a registry lists beyond the tags of one repository; any thread may ask.

    Nothing in it is checked: names may be anything, in any namespace. A refusal says which credential the
    listing needs.
    """

    @property
    def kind(self) -> CatalogueKind:
        """The kind of interface. The first call may make a request."""
        ...

    def repositories(self, namespace: str, *, page: str = "") -> RepositoryPage:
        """One page of the repositories of a namespace, perhaps with others.

        Args:
            namespace: leading parts of a path; empty: the whole registry.
            page: one of `more` of an earlier page; empty: the first page.
        """
        ...

    def tags(self, repository: Repository, *, page: str = "") -> ListedTagPage | None:
        """One page of the tags with their digests; None: the registry has no such listing."""
        ...

    def lacks(self, repository: Repository) -> str:
        """What `create` would create for a push to the repository, by its name; empty: nothing."""
        ...

    def create(self, repository: Repository) -> bool:
        """Create the project or repository that a push needs.

        False: it exists, was tried before in this process, or the registry creates it by itself.
        """
        ...


class ImageStores(Protocol):
    """The stores that a worker knows; any thread may ask."""

    def at(self, registry: str, *, push: bool = False) -> ImageStore:
        """The store with that canonical name; `push`: it is written to. Makes no request."""
        ...

    def mirror(self, registry: str) -> ImageStore:
        """The store as a mirror of others: it tries once and is less patient. Makes no request."""
        ...

    def lacks(self, repository: Repository) -> str:
        """What a run would create for a push to the repository, where the user allows it; empty: nothing."""
        ...

    def catalogue(self, registry: str, *, push: bool = False) -> Catalogue:
        """Its listings, for that side. Makes no request."""
        ...
