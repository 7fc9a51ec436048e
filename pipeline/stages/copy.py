"""Stage 3: one blob into one repository, one manifest under one name.

How a blob's bytes go is for delivery.py; here is what is asked before and after, and how often it is tried.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.errors import Fault, LackingError, RegistryError, ThrottledError
from pipeline.log import Event
from pipeline.model.messages import BlobCopied, ManifestPushed, Outcome, ReferencesMissing
from pipeline.registry.faults import fault_at
from pipeline.registry.meter import current_meter
from pipeline.stages.blob_upload import BlobUpload

if TYPE_CHECKING:
    from pipeline.model.messages import CopyBlob, PushManifest
    from pipeline.registry.image_store import ImageStore
    from pipeline.settings import Retry
    from pipeline.stages.context import StageContext


DAMAGED = "the registry's copy is damaged: remove it there, and copy again"
"""What helps where a registry holds other bytes than those of the digest."""


@dataclass(slots=True)
class RetryBudget:
    """The one retry layer of a blob's way: bounded in tries and in waiting."""

    retry: Retry
    tried: int = 0
    waited: float = 0.0

    def another(self, fault: Fault) -> bool:
        """Whether to try once more; waits before it says so. Bad content gets one more try, at once."""
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
    """Bring one blob into one repository: is it there? else mount it, else one GET into one upload.

    Raises:
        RegistryError: with `.fault.side` set; ThrottledError: the registry asks for a pause.
    """
    destination = context.clients.at(task.destination.registry, push=True)
    if task.ask:
        size = ask_size(task, destination)
        if not is_wrong(task, size):
            return BlobCopied(key=task.key, how="present")
        if size is not None:
            task = replace(task, check=True)  # distribution keeps its damaged copy, and says that all is well
    if task.blob.has_urls and is_elsewhere(task, context):
        return left(task)
    return _bring(task, destination, context)


def ask_size(task: CopyBlob, destination: ImageStore) -> int | None:
    """Bytes that the destination has of the blob; -1: it does not say; None: it has none."""
    try:
        return destination.head_blob(task.destination, task.blob.digest, size=task.blob.size)
    except RegistryError as error:
        raise error.on("destination") from error


def is_wrong(task: CopyBlob, size: int | None) -> bool:
    """Whether `size`, as of `ask_size`, is not the blob's."""
    return size is None or 0 <= task.blob.size != size >= 0


def is_elsewhere(task: CopyBlob, context: StageContext) -> bool:
    """Whether a blob with urls of its own is only there, and not at the source."""
    source = context.clients.at(task.source.registry)
    try:
        return source.head_blob(task.source, task.blob.digest, size=task.blob.size, sure=True) is None
    except RegistryError as error:
        raise error.on("source") from error


def left(task: CopyBlob) -> BlobCopied:
    """A blob is left to its urls."""
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
    return BlobCopied(key=task.key, how="left", events=(event,))


def _bring(task: CopyBlob, destination: ImageStore, context: StageContext) -> BlobCopied:
    """Mount or upload, as often as it may be tried; what is confirmed of it is not sent again."""
    delivery = BlobUpload(task, destination, context)
    tries = RetryBudget(context.settings.retry)
    mount, fresh = task.mount, False
    while True:
        try:
            how, confirmed = delivery.run(mount=mount, fresh=fresh)
            if how == "mounted" and task.check and is_wrong(task, ask_size(task, destination)):
                mount, delivery.refused = "", True
                continue
            if how != "mounted" and (task.check or not confirmed):
                _check(task, destination)
            return BlobCopied(key=task.key, how=how, refused=delivery.refused)
        except ThrottledError:
            raise
        except RegistryError as error:
            if delivery.went_on:
                tries = RetryBudget(context.settings.retry)
            if not (delivery.has_other_form or (delivery.began and tries.another(error.fault))):
                error.refused = delivery.refused
                raise
            _tell_again(task, error.fault, attempt=tries.tried, offset=delivery.offset)
            mount, fresh = "", error.fault.side == "source"
            if error.fault.side == "destination" and _arrived(task, destination):
                return BlobCopied(key=task.key, how="uploaded", refused=delivery.refused)


def _tell_again(task: CopyBlob, fault: Fault, *, attempt: int, offset: int) -> None:
    current_meter().repeat(
        "blob.retry",
        fault,
        f"{fault}; try {attempt}, tried again",
        source=str(task.source),
        destination=str(task.destination),
        blob=task.blob.digest,
        offset=offset,
        attempt=attempt,
    )


def _arrived(task: CopyBlob, destination: ImageStore) -> bool:
    """After a failure at the destination: the answer may have been lost, the blob not."""
    try:
        return not is_wrong(task, ask_size(task, destination))
    except ThrottledError:
        raise
    except RegistryError:
        return False


def _check(task: CopyBlob, destination: ImageStore) -> None:
    """Read the blob back by HEAD: a registry that says yes and stores nothing is caught here."""
    size = ask_size(task, destination)
    if is_wrong(task, size):
        raise RegistryError(
            fault_at(
                task.destination,
                "destination",
                operation=f"find the blob {task.blob.digest} again",
                code="BLOB_UNKNOWN" if size is None else "SIZE_MISMATCH",
                words="the registry has confirmed it, and does not have it"
                if size is None
                else f"it has {size} bytes, the manifest says {task.blob.size}",
                retryable=size is None,
                hint="" if size is None else DAMAGED,
            )
        )


def push_manifest(task: PushManifest, context: StageContext) -> Outcome:
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
        else "the registry confirmed it, and does not have it",
        retryable=not found,
    )
