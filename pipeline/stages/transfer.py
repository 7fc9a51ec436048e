"""Stage 3: one blob into one repository, one manifest under one name.

The last piece of a blob is held back until size and digest are right: else the connection is closed, and a
wrong blob is never committed.
"""

from __future__ import annotations

import hashlib
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import Fault, LackingError, RegistryError, ThrottledError
from pipeline.log import Event
from pipeline.model.messages import Lacking, Moved, Outcome, Stored
from pipeline.registry.meter import current_meter
from pipeline.registry.resume import ResumingBody

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pipeline.errors import Side
    from pipeline.model.manifest import Descriptor
    from pipeline.model.messages import Move, Put
    from pipeline.model.reference import Repository
    from pipeline.registry.client import Client
    from pipeline.registry.upload import Upload
    from pipeline.settings import Retry
    from pipeline.stages.context import Context


class CheckedBody:
    """The pieces of a blob, counted and hashed on their way; the last one only if all is right.

    Iterating raises RegistryError (side source) before the last piece when size or digest are wrong.
    """

    def __init__(
        self,
        pieces: Iterable[bytes],
        *,
        blob: Descriptor,
        size: int,
        source: Repository,
        moved: Callable[[int], None],
    ) -> None:
        """`size`: bytes that the body must have; `moved` is told the bytes handed on so far."""
        self._pieces = pieces
        self._blob = blob
        self._size = size
        self._source = source
        self._moved = moved

    def __len__(self) -> int:
        """Bytes in all: becomes the Content-Length."""
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        """See the class."""
        algorithm, _, expected = self._blob.digest.partition(":")
        running = hashlib.new(algorithm)
        came = 0
        held = b""
        for piece in self._pieces:
            came += len(piece)
            if came > self._size:
                raise self._wrong("SIZE_MISMATCH", f"more than the {self._size} bytes announced")
            running.update(piece)
            if held:
                yield held
                self._moved(came - len(piece))
            held = piece
        if came != self._size:
            raise self._wrong("SIZE_MISMATCH", f"{came} bytes instead of {self._size}")
        if running.hexdigest() != expected:
            words = f"the content has the digest {algorithm}:{running.hexdigest()}"
            raise self._wrong("DIGEST_MISMATCH", words)
        yield held
        self._moved(came)

    def _wrong(self, code: str, words: str) -> RegistryError:
        return RegistryError(
            Fault(
                operation=f"read the blob {self._blob.digest}",
                side="source",
                registry=self._source.registry,
                repository=self._source.path,
                code=code,
                words=words,
                hint="the source's copy is damaged: push it there again",
            )
        )


@dataclass(slots=True)
class Tries:
    """The one retry layer of a blob's way: bounded in tries and in waiting."""

    retry: Retry
    tried: int = 0
    waited: float = 0.0

    def another(self, fault: Fault) -> bool:
        """Whether to try once more; waits before it says so. Bad content gets one more try, at once."""
        self.tried += 1
        if fault.code in ("DIGEST_MISMATCH", "SIZE_MISMATCH") and fault.side == "source":
            return self.tried == 1
        if not fault.retryable or self.tried >= self.retry.tries:
            return False
        pause = random.uniform(0, self.retry.base * 2**self.tried)  # noqa: S311 - jitter is no secret
        pause = min(pause, self.retry.waiting - self.waited)
        self.waited += pause
        time.sleep(pause)
        return True


def move(task: Move, context: Context) -> Moved:
    """Bring one blob into one repository: is it there? else mount it, else one GET into one upload.

    Raises:
        RegistryError: with `.fault.side` set; ThrottledError: the registry asks for a pause.
    """
    destination = context.clients.at(task.destination.registry, push=True)
    try:
        if task.ask and destination.head_blob(task.destination, task.blob.digest) is not None:
            return Moved(key=task.key, how="present")
    except RegistryError as error:
        raise error.on("destination") from error
    if task.blob.has_urls and _is_elsewhere(task, context):
        return _left(task)
    return _bring(task, destination, context)


def _is_elsewhere(task: Move, context: Context) -> bool:
    source = context.clients.at(task.source.registry)
    try:
        return source.head_blob(task.source, task.blob.digest) is None
    except RegistryError as error:
        raise error.on("source") from error


def _left(task: Move) -> Moved:
    event = Event(
        name="blob.left",
        message=f"{task.source}: the source registry does not hold the layer {task.blob.digest};"
        " it is left to the urls that its manifest names",
        fields={
            "source": str(task.source),
            "destination": str(task.destination),
            "blob": task.blob.digest,
        },
    )
    return Moved(key=task.key, how="left", events=(event,))


def _bring(task: Move, destination: Client, context: Context) -> Moved:
    """Mount or upload, with a new session for every try: a session after a failure is not to be trusted."""
    tries = Tries(context.settings.retry)
    refused = False
    while True:
        try:
            mount = task.mount if not tries.tried else ""
            upload = _begin(task, destination, mount=mount)
            if upload is not None:
                refused = refused or upload.refused
                confirmed = _stream(task, upload, context, fresh=tries.tried > 0)
            else:
                confirmed = True
            if task.check or not confirmed:
                _check(task, destination)
            if upload is not None:
                return Moved(key=task.key, how="uploaded", refused=refused)
            return Moved(key=task.key, how="mounted" if mount else "present")
        except ThrottledError:
            raise
        except RegistryError as error:
            if not tries.another(error.fault):
                error.refused = refused
                raise
            _tell_again(task, tries, error.fault)
            if error.fault.side == "destination" and _arrived(task, destination):
                return Moved(key=task.key, how="uploaded", refused=refused)


def _tell_again(task: Move, tries: Tries, fault: Fault) -> None:
    current_meter().repeat(
        "blob.retry",
        fault,
        f"{fault}; try {tries.tried}, tried again",
        source=str(task.source),
        destination=str(task.destination),
        blob=task.blob.digest,
        offset=0,
        attempt=tries.tried,
    )


def _begin(task: Move, destination: Client, *, mount: str) -> Upload | None:
    try:
        return destination.begin_upload(task.destination, task.blob.digest, mount=mount)
    except RegistryError as error:
        raise error.on("destination") from error


def _stream(task: Move, upload: Upload, context: Context, *, fresh: bool) -> bool:
    source = context.clients.at(task.source.registry)
    blob = task.blob
    try:
        with ResumingBody(source, task.source, blob.digest, size=blob.size, fresh=fresh) as pieces:
            size = blob.size if blob.size >= 0 else pieces.total
            if size < 0:
                raise RegistryError(_sizeless(task))
            body = CheckedBody(pieces, blob=blob, size=size, source=task.source, moved=context.moved)
            return upload.put(body, digest=blob.digest)
    except RegistryError as error:
        upload.cancel()
        raise error.on(_side(task, error.fault)) from error


def _side(task: Move, fault: Fault) -> Side:
    """Where a body broke: it is read from the source while it is sent."""
    where = (fault.registry, fault.repository)
    return "source" if where == (task.source.registry, task.source.path) else "destination"


def _sizeless(task: Move) -> Fault:
    return Fault(
        operation=f"read the blob {task.blob.digest}",
        side="source",
        registry=task.source.registry,
        repository=task.source.path,
        code="SIZE_UNKNOWN",
        words="neither the manifest nor the registry says how many bytes it has",
    )


def _arrived(task: Move, destination: Client) -> bool:
    """After a failure at the destination: the answer may have been lost, the blob not."""
    try:
        return destination.head_blob(task.destination, task.blob.digest) is not None
    except ThrottledError as error:
        raise error.on("destination") from error
    except RegistryError:
        return False


def _check(task: Move, destination: Client) -> None:
    """Read the blob back by HEAD: a registry that says yes and stores nothing is caught here."""
    try:
        size = destination.head_blob(task.destination, task.blob.digest)
    except RegistryError as error:
        raise error.on("destination") from error
    if size is None or (0 <= task.blob.size != size >= 0):
        words = (
            "the registry has confirmed it, and does not have it" if size is None else f"it has {size} bytes"
        )
        raise RegistryError(
            Fault(
                operation=f"find the blob {task.blob.digest} again",
                side="destination",
                registry=task.destination.registry,
                repository=task.destination.path,
                code="BLOB_UNKNOWN",
                words=words,
                retryable=True,
            )
        )


def put(task: Put, context: Context) -> Outcome:
    """Store one manifest: exactly its bytes, under its media type.

    Raises:
        RegistryError: with side destination.
    """
    repository = task.destination.repository
    client = context.clients.at(repository.registry, push=True)
    try:
        confirmed = client.put_manifest(
            task.destination, task.content, media_type=task.media_type, digest=task.digest
        )
        if task.check or not confirmed:
            found = client.head_manifest(task.destination)
            if found is None or found.digest != task.digest:
                raise RegistryError(_not_stored(task, found.digest if found else ""))
    except LackingError as error:
        return Lacking(key=task.key, fault=error.on("destination").fault, digests=error.digests)
    except RegistryError as error:
        raise error.on("destination") from error
    return Stored(key=task.key)


def _not_stored(task: Put, found: str) -> Fault:
    return Fault(
        operation=f"find the manifest {task.digest} again",
        side="destination",
        registry=task.destination.repository.registry,
        repository=task.destination.repository.path,
        code="DIGEST_MISMATCH" if found else "MANIFEST_UNKNOWN",
        words=f"the registry answers with {found}"
        if found
        else "the registry confirmed it, and does not have it",
        retryable=not found,
    )
