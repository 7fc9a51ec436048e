"""Stage 3: copy one blob into one repository, push one manifest.

This module has the requests before and after a transfer, and the retries; blob_upload.py has the transfer
itself.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.errors import LackingError, RegistryError
from pipeline.log import Event
from pipeline.model.faults import FORCE_HINT, fault_at
from pipeline.model.messages import BlobCopied, ManifestPushed, Outcome, ReferencesMissing
from pipeline.registry.meter import current_meter
from pipeline.registry.retries import RetryBudget
from pipeline.stages.blob_upload import BlobUpload
from pipeline.stages.companions import merge

if TYPE_CHECKING:
    from pipeline.errors import Fault
    from pipeline.model.messages import CopyBlob, PushManifest
    from pipeline.registry.image_store import ImageStore
    from pipeline.stages.context import StageContext

DAMAGED_HINT = "the registry's copy is damaged: delete it there and copy again"
"""What to do if a registry's blob does not match its digest."""
_AGAIN = {True: " again", False: ""}
_MISSING = {True: "the registry confirmed it, but does not have it", False: "it is not there"}
"""By whether the registry just confirmed the content."""


def copy_blob(task: CopyBlob, context: StageContext) -> BlobCopied:
    """Copy one blob into one repository: if it is missing, mount it, else GET it and upload it.

    Raises:
        RegistryError: it failed; ThrottledError: a registry limits the rate.
    """
    destination = context.stores.at(task.destination.registry, push=True)
    if task.ask:
        size, damage = look(task, destination)
        if damage is None and not is_missing(task, size):
            return BlobCopied(key=task.key, how="present")
        if damage is not None or size is not None:
            task = replace(task, check=True)  # distribution keeps a damaged copy, but reports success
    if task.blob.has_urls and only_at_urls(task, context):
        return left_to_urls(task)
    return _transfer(task, destination, context)


def head_size(task: CopyBlob, destination: ImageStore) -> int | None:
    """The size of the destination's blob; -1: not stated; None: missing."""
    return destination.head_blob(task.destination, task.blob.digest, size=task.blob.size)


def look(task: CopyBlob, destination: ImageStore) -> tuple[int | None, Fault | None]:
    """As `head_size`, and why the destination could not tell it, if its blob may be damaged."""
    try:
        return head_size(task, destination), None
    except RegistryError as error:
        if not error.fault.may_be_damage:
            raise
        return None, error.fault


def is_missing(task: CopyBlob, size: int | None) -> bool:
    """Whether the blob is missing or has a wrong size, by the result of `head_size`."""
    return size is None or 0 <= task.blob.size != size >= 0


def only_at_urls(task: CopyBlob, context: StageContext) -> bool:
    """Whether the source does not hold a foreign layer, so that only its `urls` serve it."""
    source = context.stores.at(task.source.registry)
    return source.head_blob(task.source, task.blob.digest, size=task.blob.size, sure=True) is None


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
    budget = RetryBudget(context.settings.retry)
    mount, fresh = task.mount, False
    while True:
        stored = False
        try:
            how, confirmed = upload.run(mount=mount, fresh=fresh)
            stored = how == "uploaded" and confirmed
            if how == "mounted" and task.check and is_missing(task, head_size(task, destination)):
                mount, upload.refused = "", True
                continue
            if how != "mounted" and (task.check or not confirmed):
                check_blob(task, head_size(task, destination), stored=True)
            return BlobCopied(key=task.key, how=how, refused=upload.refused)
        except RegistryError as error:
            fault = error.fault
            if upload.resumed:
                budget = RetryBudget(context.settings.retry)
            wait = 0.0 if upload.has_other_form else _next_wait(budget, fault) if upload.began else None
            only_mirror = task.mirror is not None and fault.side == "source"
            if wait is None or only_mirror or (stored and fault.may_be_damage):
                error.refused = upload.refused
                raise
        time.sleep(wait)
        _report_retry(task, fault, attempt=budget.tried, offset=upload.offset)
        mount, fresh = "", fault.side == "source"
        if fault.side == "destination" and _was_stored(task, destination):
            return BlobCopied(key=task.key, how="uploaded", refused=upload.refused)


def _next_wait(budget: RetryBudget, fault: Fault) -> float | None:
    wrong = fault.side == "source" and fault.code in ("DIGEST_MISMATCH", "SIZE_MISMATCH")
    return budget.next_wait(fault, damaged=wrong or fault.code == "DIGEST_INVALID")


def _report_retry(task: CopyBlob, fault: Fault, *, attempt: int, offset: int) -> None:
    current_meter().repeat(
        "blob.retry",
        fault,
        f"{fault}; attempt {attempt} failed, retrying",
        source=str(task.read_from),
        destination=str(task.destination),
        blob=task.blob.digest,
        offset=offset,
        attempt=attempt,
    )


def _was_stored(task: CopyBlob, destination: ImageStore) -> bool:
    """Whether the blob exists after a failure: only the response may have been lost."""
    try:
        return not is_missing(task, head_size(task, destination))
    except RegistryError:
        return False


def check_blob(task: CopyBlob, size: int | None, *, stored: bool = False) -> None:
    """Check that the destination has the blob with its size, by the result of `head_size`.

    `stored`: the registry just confirmed it; some registries report success without storing it.

    Raises:
        RegistryError: BLOB_UNKNOWN, SIZE_MISMATCH.
    """
    if not is_missing(task, size):
        return
    if size is None:
        code, words = "BLOB_UNKNOWN", _MISSING[stored]
        hint = "" if stored else FORCE_HINT
    else:
        code, words = "SIZE_MISMATCH", f"it has {size} bytes, the manifest says {task.blob.size}"
        hint = DAMAGED_HINT
    raise RegistryError(
        fault_at(
            task.destination,
            "destination",
            operation=f"find the blob {task.blob.digest}{_AGAIN[stored]}",
            status=404 if size is None and not stored else None,
            code=code,
            words=words,
            retryable=size is None and stored,
            hint=hint,
        )
    )


def push_manifest(task: PushManifest, context: StageContext) -> Outcome:
    """Push one manifest unchanged, with its media type.

    Raises:
        RegistryError: it failed, or the registry stored something else.
    """
    store = context.stores.at(task.destination.repository.registry, push=True)
    try:
        if task.merges:
            return merge(task, store)
        stored = store.put_manifest(
            task.destination, task.content, media_type=task.media_type, digest=task.digest
        )
        if task.check or not stored.confirmed:
            found = store.head_manifest(task.destination)
            check_manifest(task, found.digest if found else "", stored=True)
    except LackingError as error:
        return ReferencesMissing(key=task.key, fault=error.fault)
    return ManifestPushed(key=task.key, registered=stored.registered)


def check_manifest(task: PushManifest, found: str, *, stored: bool = False) -> None:
    """Check that the destination's digest `found` (empty: missing) is right; `stored`: as in `check_blob`.

    Raises:
        RegistryError: MANIFEST_UNKNOWN, DIGEST_MISMATCH.
    """
    if found == task.digest:
        return
    name = task.digest if stored else task.destination.name
    wrong = f"the registry answers with {found}" if stored else f"it is {found}, not {task.digest}"
    raise RegistryError(
        fault_at(
            task.destination.repository,
            "destination",
            operation=f"find the manifest {name}{_AGAIN[stored]}",
            status=None if found or stored else 404,
            code="DIGEST_MISMATCH" if found else "MANIFEST_UNKNOWN",
            words=wrong if found else _MISSING[stored],
            retryable=stored and not found,
            hint="" if stored else FORCE_HINT,
        )
    )
