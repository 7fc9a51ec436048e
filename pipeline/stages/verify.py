"""Stage 3 of a verification: whether a blob or manifest is where it belongs, and nothing is changed.

HEAD tells that it is there and how large; with --deep it is read, and its bytes are hashed.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pipeline.errors import Fault, ManifestError, RegistryError, ThrottledError
from pipeline.model.manifest import compute_digest
from pipeline.model.messages import BlobCopied, ManifestPushed
from pipeline.registry.faults import fault_at
from pipeline.registry.resume import ResumingBody
from pipeline.settings import MAX_MANIFEST
from pipeline.stages.copy import DAMAGED, RetryBudget, ask_size, is_elsewhere, is_wrong, left

if TYPE_CHECKING:
    from pipeline.model.messages import CopyBlob, PushManifest
    from pipeline.model.reference import Repository
    from pipeline.registry.image_store import ImageStore
    from pipeline.stages.context import StageContext

_NOT_FOUND = 404
AGAIN = "a run with --force brings it there"
"""What helps where something is missing that the records may vouch for."""


def copy_blob(task: CopyBlob, context: StageContext) -> BlobCopied:
    """See that a repository holds a blob.

    Raises:
        RegistryError: it does not (BLOB_UNKNOWN), it has another size or digest (SIZE_MISMATCH,
            DIGEST_MISMATCH), or it cannot be asked; ThrottledError: the registry asks for a pause.
    """
    client = context.clients.at(task.destination.registry, push=True)
    try:
        size = _read(task, client, context) if context.settings.deep else ask_size(task, client)
    except RegistryError as error:
        raise error.on("destination") from error
    if size is None:
        if task.blob.has_urls and is_elsewhere(task, context):
            return left(task)
        raise RegistryError(_blob_fault(task, "BLOB_UNKNOWN", "it is not there", status=_NOT_FOUND))
    if is_wrong(task, size):
        words = f"it has {size} bytes, the manifest says {task.blob.size}"
        raise RegistryError(_blob_fault(task, "SIZE_MISMATCH", words))
    return BlobCopied(key=task.key, how="present")


def _read(task: CopyBlob, client: ImageStore, context: StageContext) -> int | None:
    """Read and hash it, as often as a request may be tried: its size; None: it is not there."""
    tries = RetryBudget(context.settings.retry)
    while True:
        try:
            return _hashed(task, client, context, fresh=tries.tried > 0)
        except ThrottledError:
            raise
        except RegistryError as error:
            if error.fault.status == _NOT_FOUND:
                return None
            # A damaged answer may be a proxy's: Tries asks once more for what the source sent wrong.
            fault = error.on("destination").fault
            damaged = fault.code == "DIGEST_MISMATCH" and tries.tried == 0
            if not tries.another(fault) and not damaged:
                raise


def _hashed(task: CopyBlob, client: ImageStore, context: StageContext, *, fresh: bool) -> int:
    algorithm, _, expected = task.blob.digest.partition(":")
    running, size = hashlib.new(algorithm), 0
    with ResumingBody(client, task.destination, task.blob.digest, size=task.blob.size, fresh=fresh) as pieces:
        for piece in pieces:
            running.update(piece)
            size += len(piece)
            context.moved(size)
    if running.hexdigest() != expected:
        words = f"the content has the digest {algorithm}:{running.hexdigest()}"
        raise RegistryError(_blob_fault(task, "DIGEST_MISMATCH", words))
    return size


def _blob_fault(task: CopyBlob, code: str, words: str, *, status: int | None = None) -> Fault:
    return _fault(
        task.destination,
        f"find the blob {task.blob.digest}",
        status=status,
        code=code,
        words=words,
        hint=AGAIN if code == "BLOB_UNKNOWN" else DAMAGED,
    )


def push_manifest(task: PushManifest, context: StageContext) -> ManifestPushed:
    """See that a reference names the manifest.

    Raises:
        RegistryError: it names nothing, or something else; ThrottledError: the registry asks for a pause.
    """
    client = context.clients.at(task.destination.repository.registry, push=True)
    try:
        found = _digest(task, client, context)
    except RegistryError as error:
        raise error.on("destination") from error
    if found != task.digest:
        raise RegistryError(
            _fault(
                task.destination.repository,
                f"find the manifest {task.destination.name}",
                status=None if found else _NOT_FOUND,
                code="DIGEST_MISMATCH" if found else "MANIFEST_UNKNOWN",
                words=f"it is {found}, not {task.digest}" if found else "it is not there",
                hint=AGAIN,
            )
        )
    return ManifestPushed(key=task.key)


def _digest(task: PushManifest, client: ImageStore, context: StageContext) -> str:
    """The digest that the registry has there; empty: it has nothing."""
    if not context.settings.deep:
        there = client.head_manifest(task.destination)
        return there.digest if there else ""
    try:
        content, media_type = client.get_manifest(task.destination, limit=MAX_MANIFEST)
        return compute_digest(content, media_type, task.digest.partition(":")[0])
    except ManifestError as error:
        words = str(error)
        place = task.destination.repository
        raise RegistryError(
            _fault(
                place, f"read the manifest {task.digest}", code="MANIFEST_INVALID", words=words, hint=AGAIN
            )
        ) from error
    except RegistryError as error:
        if error.fault.status == _NOT_FOUND:
            return ""
        raise


def _fault(
    place: Repository, operation: str, *, code: str, words: str, hint: str, status: int | None = None
) -> Fault:
    return fault_at(
        place,
        "destination",
        operation=operation,
        status=status,
        code=code,
        words=words,
        hint=hint,
    )
