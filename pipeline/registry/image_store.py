"""What the stages ask of a place that holds images; the client of a registry implements it.

The conformance suite (tests/registry/test_conformance*.py) proves it, against the scripted registry and real
ones. For every method:

- One call is one operation. What a short request can cure by repeating it (a lost connection, 500, 503) is
  repeated inside, so a caller never repeats these. Bodies of blobs are the exception: whoever reads the
  source repeats them, since only he can open it again.
- RegistryError is final for the task; ThrottledError is a pause that the scheduler waits for before the task
  is given out again. Both name the side, the host that caused them, and its words.
- "Not there" is None, and only where the store says so: an answer that is not understood is an error.
- Any thread may call it. Nothing is remembered of one call that changes the meaning of another.
- Everything that only reads may be called any number of times. Content is addressed by digest: writing the
  same bytes a second time changes nothing, so a task whose worker died may always be run again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from pipeline.http.transport import Pieces
    from pipeline.model.messages import ManifestHead
    from pipeline.model.reference import Reference, Repository
    from pipeline.registry.listing import TagPage
    from pipeline.registry.upload_strategy import UploadStrategies


class BlobReader(Protocol):
    """A blob that is being read, once, from `offset` to its end; used by one thread, and to be closed."""

    offset: int
    """Where it begins: the place that was asked for, or 0 where the store begins anew."""
    total: int
    """Bytes of the whole blob as the store states it; -1: it does not."""
    etag: str
    """What tells whether a later opening reads the same bytes; empty: nothing does."""

    def __enter__(self) -> Self:
        """Use it."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it; what was not read is not read."""
        ...

    def __iter__(self) -> Iterator[memoryview]:
        """Its bytes, not checked against the digest; each piece is valid until the next one.

        Raises:
            RegistryError: it breaks off, or stalls. The caller may open it again at where it stopped.
        """
        ...

    def skip(self, count: int) -> None:
        """Read over so many bytes."""
        ...


class UploadSession(Protocol):
    """A blob that is being written; used by one thread. Until it is committed, the blob is not there.

    Nothing is repeated in here. After an error of `put` or `patch` the upload may have taken all, some or
    none of the bytes: `ask_offset` tells where the store kept them, or a new upload begins.
    """

    url: str
    """What `resume_upload` takes, in another process too; a secret, and another one after each answer."""
    refused: bool
    """Whether a mount was asked for and not given."""
    least: int
    """Bytes of a part, but for the last, at least; 0: any number."""
    most: int
    """Bytes of a part at most; 0: any number."""

    def put(self, body: Pieces, *, offset: int = 0) -> bool:
        """Send all that is left and commit; whether the store confirmed the digest. Not to be called again.

        An exception that reading `body` raises comes out as it is, and nothing is committed.
        """
        ...

    def patch(self, body: Pieces, *, offset: int | None) -> int:
        """Send a part; returns how many bytes of the blob the store has. None: the whole blob in one part."""
        ...

    def commit(self) -> bool:
        """End an upload all of whose bytes were sent in parts; as `put`."""
        ...

    def ask_offset(self, *, least: int, most: int) -> int | None:
        """How many bytes the store has, between `least` and `most`; None: it has to begin anew."""
        ...

    def cancel(self) -> bool:
        """Give the upload up; whether the store agreed. May be left out: unfinished uploads expire."""
        ...


class ImageStore(Protocol):
    """One place with repositories of manifests, tags and blobs."""

    @property
    def forms(self) -> UploadStrategies:
        """Which forms of upload it takes, as learnt so far."""
        ...

    def tags(self, repository: Repository, *, page: str, count: int) -> TagPage:
        """One page of the tags. No such repository is an error with status 404.

        Pages of one list may be read at different times: tags that come or go in between may be missed or
        come twice.

        Args:
            repository: whose tags.
            page: what an earlier page gave as `next`; empty: the first one.
            count: tags wanted; a page may hold more or fewer.
        """
        ...

    def head_manifest(self, reference: Reference, *, sure: bool = False) -> ManifestHead | None:
        """Digest and type of a manifest; None: it is not there.

        `sure`: the content is asked for where the short question has None for an answer, since a cache may
        not have fetched it yet.
        """
        ...

    def get_manifest(self, reference: Reference, *, limit: int, fresh: bool = False) -> tuple[bytes, str]:
        """The exact bytes of a manifest, and its type; not there is an error with status 404.

        The bytes are not checked: a caller that finds a wrong digest may ask once more with `fresh`, which
        goes past caches. More than `limit` bytes are an error.
        """
        ...

    def put_manifest(self, reference: Reference, content: bytes, *, media_type: str, digest: str) -> bool:
        """Store exactly these bytes under a tag or their digest; whether the store confirmed the digest.

        Idempotent, and repeated inside: a lost answer counts as success where the very manifest is there.
        A tag that pointed to another manifest is moved; what belongs to the manifest has to be there.

        Raises:
            LackingError: the store does not know a blob or manifest that it names.
        """
        ...

    def head_blob(
        self, repository: Repository, digest: str, *, size: int = -1, sure: bool = False
    ) -> int | None:
        """Size of a blob, -1: not told; None: it is not there.

        Args:
            repository: where it is looked for; other repositories do not count.
            digest: the blob's.
            size: what it should be, -1: not known; another answer is looked at twice.
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
        """Open a blob; another size than `size` (-1: not known) is an error.

        `offset` is a wish: `BlobReader.offset` says where it begins. With `etag` a blob that has changed
        since begins at 0. `fresh` goes past caches.
        """
        ...

    def begin_upload(self, repository: Repository, digest: str, *, mount: str = "") -> UploadSession | None:
        """Begin to write a blob; None: it is there without that, since it was mounted.

        May be repeated: each call begins an upload of its own, and one that nobody ends expires. A blob that
        is there already may be written again.

        Args:
            repository: where it is wanted.
            digest: the blob's.
            mount: a repository of this store that may hold it; a refusal is no error, but begins an upload.
        """
        ...

    def resume_upload(self, repository: Repository, digest: str, *, url: str) -> UploadSession:
        """Go on with an upload that this or another process began; asks nothing, so it may be gone."""
        ...


class ImageStores(Protocol):
    """The stores that a worker knows; any thread may ask."""

    def at(self, registry: str, *, push: bool = False) -> ImageStore:
        """The store of that canonical name; `push`: it is to be written to. Costs no request."""
        ...
