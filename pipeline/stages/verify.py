"""Stage 3 of a verification: check that a blob or manifest is at its destination, without writing.

HEAD shows existence and size; with --deep the content is read and hashed.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pipeline.errors import ManifestError, RegistryError, ThrottledError
from pipeline.model.faults import FORCE_HINT, fault_at
from pipeline.model.manifest import compute_digest
from pipeline.model.messages import BlobCopied, ManifestPushed
from pipeline.registry.resume import ResumingBody
from pipeline.settings import MAX_MANIFEST
from pipeline.stages.copy import DAMAGED_HINT, RetryBudget, head_size, is_missing, left_to_urls, only_at_urls

if TYPE_CHECKING:
    from pipeline.errors import Fault
    from pipeline.model.messages import CopyBlob, PushManifest
    from pipeline.registry.image_store import ImageStore
    from pipeline.stages.context import StageContext

_NOT_FOUND = 404


def copy_blob(task: CopyBlob, context: StageContext) -> BlobCopied:
    """Check that a repository holds a blob.

    Raises:
        RegistryError: it is missing (BLOB_UNKNOWN), has another size or digest (SIZE_MISMATCH,
            DIGEST_MISMATCH), or the request failed; ThrottledError: the registry limits the rate.
    """
    client = context.clients.at(task.destination.registry, push=True)
    try:
        size = _read(task, client, context) if context.settings.deep else head_size(task, client)
    except RegistryError as error:
        raise error.on("destination") from error
    if size is None:
        if task.blob.has_urls and only_at_urls(task, context):
            return left_to_urls(task)
        raise RegistryError(_blob_fault(task, "BLOB_UNKNOWN", "it is not there", status=_NOT_FOUND))
    if is_missing(task, size):
        words = f"it has {size} bytes, the manifest says {task.blob.size}"
        raise RegistryError(_blob_fault(task, "SIZE_MISMATCH", words))
    return BlobCopied(key=task.key, how="present")


def _read(task: CopyBlob, client: ImageStore, context: StageContext) -> int | None:
    """Read and hash the blob, with retries: its size; None: missing."""
    tries = RetryBudget(context.settings.retry)
    while True:
        try:
            return _read_and_hash(task, client, context, fresh=tries.tried > 0)
        except ThrottledError:
            raise
        except RegistryError as error:
            if error.fault.status == _NOT_FOUND:
                return None
            # A proxy may have damaged the content: read it once more.
            fault = error.on("destination").fault
            damaged = fault.code == "DIGEST_MISMATCH" and tries.tried == 0
            if not tries.another(fault) and not damaged:
                raise


def _read_and_hash(task: CopyBlob, client: ImageStore, context: StageContext, *, fresh: bool) -> int:
    algorithm, _, expected = task.blob.digest.partition(":")
    running, size = hashlib.new(algorithm), 0
    with ResumingBody(client, task.destination, task.blob.digest, size=task.blob.size, fresh=fresh) as pieces:
        for piece in pieces:
            running.update(piece)
            size += len(piece)
            context.on_progress(size)
    if running.hexdigest() != expected:
        words = f"the content has the digest {algorithm}:{running.hexdigest()}"
        raise RegistryError(_blob_fault(task, "DIGEST_MISMATCH", words))
    return size


def _blob_fault(task: CopyBlob, code: str, words: str, *, status: int | None = None) -> Fault:
    return fault_at(
        task.destination,
        "destination",
        operation=f"find the blob {task.blob.digest}",
        status=status,
        code=code,
        words=words,
        hint=FORCE_HINT if code == "BLOB_UNKNOWN" else DAMAGED_HINT,
    )


def push_manifest(task: PushManifest, context: StageContext) -> ManifestPushed:
    """Check that a reference points to the manifest.

    Raises:
        RegistryError: it is missing, or points to another manifest; ThrottledError: the registry limits the
            rate.
    """
    client = context.clients.at(task.destination.repository.registry, push=True)
    try:
        found = _digest(task, client, context)
    except RegistryError as error:
        raise error.on("destination") from error
    if found != task.digest:
        raise RegistryError(
            fault_at(
                task.destination.repository,
                "destination",
                operation=f"find the manifest {task.destination.name}",
                status=None if found else _NOT_FOUND,
                code="DIGEST_MISMATCH" if found else "MANIFEST_UNKNOWN",
                words=f"it is {found}, not {task.digest}" if found else "it is not there",
                hint=FORCE_HINT,
            )
        )
    return ManifestPushed(key=task.key)


def _digest(task: PushManifest, client: ImageStore, context: StageContext) -> str:
    """The digest of the reference; empty: missing."""
    if not context.settings.deep:
        there = client.head_manifest(task.destination)
        return there.digest if there else ""
    try:
        content, media_type = client.get_manifest(task.destination, limit=MAX_MANIFEST)
        return compute_digest(content, media_type, task.digest.partition(":")[0])
    except ManifestError as error:
        raise RegistryError(
            fault_at(
                task.destination.repository,
                "destination",
                operation=f"read the manifest {task.digest}",
                code="MANIFEST_INVALID",
                words=str(error),
                hint=FORCE_HINT,
            )
        ) from error
    except RegistryError as error:
        if error.fault.status == _NOT_FOUND:
            return ""
        raise
