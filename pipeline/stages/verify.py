"""Stage 3 of a verification: check that a blob or manifest is at its destination, without writing.

HEAD shows existence and size; with --deep the content is read and hashed.
"""

from __future__ import annotations

import hashlib
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from pipeline.errors import ManifestError, RegistryError
from pipeline.model.faults import FORCE_HINT, fault_at
from pipeline.model.manifest import compute_digest
from pipeline.model.messages import BlobCopied, ManifestPushed
from pipeline.registry.resume import ResumingBody
from pipeline.registry.retries import RetryBudget
from pipeline.settings import MAX_MANIFEST
from pipeline.stages.companions import check_merged
from pipeline.stages.copy import (
    DAMAGED_HINT,
    check_blob,
    check_manifest,
    head_size,
    left_to_urls,
    only_at_urls,
)

if TYPE_CHECKING:
    from pipeline.model.messages import CopyBlob, PushManifest
    from pipeline.registry.image_store import ImageStore
    from pipeline.stages.context import StageContext


def copy_blob(task: CopyBlob, context: StageContext) -> BlobCopied:
    """Check that a repository holds a blob.

    Raises:
        RegistryError: it is missing (BLOB_UNKNOWN), has another size or digest (SIZE_MISMATCH,
            DIGEST_MISMATCH), or the request failed; ThrottledError: the registry limits the rate.
    """
    store = context.stores.at(task.destination.registry, push=True)
    size = _read(task, store, context) if context.settings.deep else head_size(task, store)
    if size is None and task.blob.has_urls and only_at_urls(task, context):
        return left_to_urls(task)
    check_blob(task, size)
    return BlobCopied(key=task.key, how="present")


def _read(task: CopyBlob, store: ImageStore, context: StageContext) -> int | None:
    """Read and hash the blob, with retries: its size; None: missing."""
    budget = RetryBudget(context.settings.retry)
    while True:
        try:
            return _read_and_hash(task, store, context, fresh=budget.tried > 0)
        except RegistryError as error:
            if error.fault.status == HTTPStatus.NOT_FOUND:
                return None
            wait = budget.next_wait(error.fault, damaged=error.fault.code == "DIGEST_MISMATCH")
            if wait is None:
                raise
        time.sleep(wait)


def _read_and_hash(task: CopyBlob, store: ImageStore, context: StageContext, *, fresh: bool) -> int:
    algorithm, _, expected = task.blob.digest.partition(":")
    running, size = hashlib.new(algorithm), 0
    with ResumingBody(store, task.destination, task.blob.digest, size=task.blob.size, fresh=fresh) as pieces:
        for piece in pieces:
            running.update(piece)
            size += len(piece)
            context.on_progress(size)
    if running.hexdigest() != expected:
        words = f"the content has the digest {algorithm}:{running.hexdigest()}"
        raise RegistryError(
            fault_at(
                task.destination,
                "destination",
                operation=f"find the blob {task.blob.digest}",
                code="DIGEST_MISMATCH",
                words=words,
                hint=DAMAGED_HINT,
            )
        )
    return size


def push_manifest(task: PushManifest, context: StageContext) -> ManifestPushed:
    """Check that a reference points to the manifest.

    Raises:
        RegistryError: it is missing, or points to another manifest; ThrottledError: the registry limits the
            rate.
    """
    store = context.stores.at(task.destination.repository.registry, push=True)
    if task.merges:
        check_merged(task, store)
    else:
        check_manifest(task, _digest(task, store, context))
    return ManifestPushed(key=task.key)


def _digest(task: PushManifest, store: ImageStore, context: StageContext) -> str:
    """The digest of the reference; empty: missing."""
    if not context.settings.deep:
        there = store.head_manifest(task.destination)
        return there.digest if there else ""
    try:
        content, media_type = store.get_manifest(task.destination, limit=MAX_MANIFEST)
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
        if error.fault.status == HTTPStatus.NOT_FOUND:
            return ""
        raise
