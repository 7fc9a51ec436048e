"""Stage 3: copy one blob into one repository, push one manifest.

This module has the requests before and after a transfer, and the retries; blob_upload.py has the transfer
itself.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.errors import LackingError, RegistryError, ThrottledError
from pipeline.log import Event
from pipeline.model.faults import fault_at
from pipeline.model.messages import BlobCopied, ManifestPushed, Outcome, ReferencesMissing
from pipeline.registry.meter import current_meter
from pipeline.stages.blob_upload import BlobUpload

if TYPE_CHECKING:
    from pipeline.errors import Fault
    from pipeline.model.messages import CopyBlob, PushManifest
    from pipeline.registry.image_store import ImageStore
    from pipeline.settings import Retry
    from pipeline.stages.context import StageContext


DAMAGED_HINT = "the registry's copy is damaged: delete it there and copy again"
"""What to do if a registry's blob does not match its digest."""


@dataclass(slots=True)
class RetryBudget:
    """The retries of a blob's transfer: limited in attempts and in waiting."""

    retry: Retry
    tried: int = 0
    waited: float = 0.0

    def another(self, fault: Fault) -> bool:
        """Whether to retry; waits first. Wrong content gets one retry, without waiting."""
        self.tried += 1
        if fault.code == "DIGEST_INVALID" or (
            fault.side == "source" and fault.code in ("DIGEST_MISMATCH", "SIZE_MISMATCH")
        ):
            return self.tried == 1
        if not fault.retryable or self.tried >= self.retry.tries:
            return False
        pause = random.uniform(0, self.retry.base * 2**self.tried)  # noqa: S311 - jitter is no secret
        pause = min(pause, self.retry.waiting - self.waited)
        self.waited += pause
        time.sleep(pause)
        return True


def copy_blob(task: CopyBlob, context: StageContext) -> BlobCopied:
    """Copy one blob into one repository: if it is missing, mount it, else GET it and upload it.

    Raises:
        RegistryError: with `.fault.side` set; ThrottledError: the registry limits the rate.
    """
    destination = context.clients.at(task.destination.registry, push=True)
    if task.ask:
        size = head_size(task, destination)
        if not is_missing(task, size):
            return BlobCopied(key=task.key, how="present")
        if size is not None:
            task = replace(task, check=True)  # distribution keeps a damaged copy, but reports success
    if task.blob.has_urls and only_at_urls(task, context):
        return left_to_urls(task)
    return _transfer(task, destination, context)


def head_size(task: CopyBlob, destination: ImageStore) -> int | None:
    """The size of the destination's blob; -1: not stated; None: missing."""
    try:
        return destination.head_blob(task.destination, task.blob.digest, size=task.blob.size)
    except RegistryError as error:
        raise error.on("destination") from error


def is_missing(task: CopyBlob, size: int | None) -> bool:
    """Whether the blob is missing or has a wrong size, by the result of `head_size`."""
    return size is None or 0 <= task.blob.size != size >= 0


def only_at_urls(task: CopyBlob, context: StageContext) -> bool:
    """Whether the source does not hold a foreign layer, so that only its `urls` serve it."""
    source = context.clients.at(task.source.registry)
    try:
        return source.head_blob(task.source, task.blob.digest, size=task.blob.size, sure=True) is None
    except RegistryError as error:
        raise error.on("source") from error


def left_to_urls(task: CopyBlob) -> BlobCopied:
    """The outcome of a foreign layer that is not copied."""
    event = Event(
        name="blob.left",
        message=f"{task.source}: the source registry does not hold the layer {task.blob.digest};"
        " it was not copied: the urls in its manifest serve it",
        fields={
            "source": str(task.source),
            "destination": str(task.destination),
            "blob": task.blob.digest,
        },
    )
    return BlobCopied(key=task.key, how="left", events=(event,))


def _transfer(task: CopyBlob, destination: ImageStore, context: StageContext) -> BlobCopied:
    """Mount or upload with retries; confirmed bytes are not sent again."""
    upload = BlobUpload(task, destination, context)
    tries = RetryBudget(context.settings.retry)
    mount, fresh = task.mount, False
    while True:
        try:
            how, confirmed = upload.run(mount=mount, fresh=fresh)
            if how == "mounted" and task.check and is_missing(task, head_size(task, destination)):
                mount, upload.refused = "", True
                continue
            if how != "mounted" and (task.check or not confirmed):
                _check(task, destination)
            return BlobCopied(key=task.key, how=how, refused=upload.refused)
        except ThrottledError:
            raise
        except RegistryError as error:
            if upload.resumed:
                tries = RetryBudget(context.settings.retry)
            if not (upload.has_other_form or (upload.began and tries.another(error.fault))):
                error.refused = upload.refused
                raise
            _report_retry(task, error.fault, attempt=tries.tried, offset=upload.offset)
            mount, fresh = "", error.fault.side == "source"
            if error.fault.side == "destination" and _was_stored(task, destination):
                return BlobCopied(key=task.key, how="uploaded", refused=upload.refused)


def _report_retry(task: CopyBlob, fault: Fault, *, attempt: int, offset: int) -> None:
    current_meter().repeat(
        "blob.retry",
        fault,
        f"{fault}; attempt {attempt} failed, retrying",
        source=str(task.source),
        destination=str(task.destination),
        blob=task.blob.digest,
        offset=offset,
        attempt=attempt,
    )


def _was_stored(task: CopyBlob, destination: ImageStore) -> bool:
    """Whether the blob exists after a failure: only the response may have been lost."""
    try:
        return not is_missing(task, head_size(task, destination))
    except ThrottledError:
        raise
    except RegistryError:
        return False


def _check(task: CopyBlob, destination: ImageStore) -> None:
    """Read the blob back with HEAD, to detect a registry that reports success without storing it."""
    size = head_size(task, destination)
    if is_missing(task, size):
        raise RegistryError(
            fault_at(
                task.destination,
                "destination",
                operation=f"find the blob {task.blob.digest} again",
                code="BLOB_UNKNOWN" if size is None else "SIZE_MISMATCH",
                words="the registry confirmed it, but does not have it"
                if size is None
                else f"it has {size} bytes, the manifest says {task.blob.size}",
                retryable=size is None,
                hint="" if size is None else DAMAGED_HINT,
            )
        )


def push_manifest(task: PushManifest, context: StageContext) -> Outcome:
    """Push one manifest unchanged, with its media type.

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
        return ReferencesMissing(key=task.key, fault=error.on("destination").fault, digests=error.digests)
    except RegistryError as error:
        raise error.on("destination") from error
    return ManifestPushed(key=task.key)


def _not_stored(task: PushManifest, found: str) -> Fault:
    return fault_at(
        task.destination.repository,
        "destination",
        operation=f"find the manifest {task.digest} again",
        code="DIGEST_MISMATCH" if found else "MANIFEST_UNKNOWN",
        words=f"the registry answers with {found}"
        if found
        else "the registry confirmed it, but does not have it",
        retryable=not found,
    )
