"""Stage 3 of a plan: predict the cost of copying a blob or pushing a manifest, without writing.

Requests that a run makes before it writes are made. Later requests and the bytes of their bodies are counted
as if nothing went wrong (see blob_upload.py). What only writing shows is not predicted: refused mounts and
upload forms, digests that a registry does not confirm, redirects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import RegistryError
from pipeline.model.faults import fault_at
from pipeline.model.messages import BlobCopied, ManifestPushed
from pipeline.registry.meter import current_meter, metering
from pipeline.stages.companions import plan_merge
from pipeline.stages.copy import is_missing, left_to_urls, look, only_at_urls

if TYPE_CHECKING:
    from pipeline.model.messages import CopyBlob, PushManifest
    from pipeline.registry.image_store import ImageStore
    from pipeline.registry.meter import Meter
    from pipeline.stages.context import StageContext


def copy_blob(task: CopyBlob, context: StageContext) -> BlobCopied:
    """Predict how a blob would get into its repository, and the cost.

    Raises:
        RegistryError: it failed; ThrottledError: a registry limits the rate.
    """
    destination = context.stores.at(task.destination.registry, push=True)
    size, doubt = look(task, destination) if task.ask else (None, None)
    if doubt is None and not is_missing(task, size):
        return BlobCopied(key=task.key, how="present")
    if task.blob.has_urls and only_at_urls(task, context):
        return left_to_urls(task)
    meter, there = current_meter(), task.destination.registry
    if task.mount:
        meter.plan(there, "POST", status=201, what="upload")
    else:
        _upload(task, destination, meter, size=_size(task, context))
    if task.check or doubt is not None or size is not None:
        meter.plan(there, "HEAD", status=200, what="blob")
    return BlobCopied(key=task.key, how="mounted" if task.mount else "uploaded", doubt=doubt)


def _upload(task: CopyBlob, destination: ImageStore, meter: Meter, *, size: int) -> None:
    there, begun = task.destination.registry, task.session
    offset = begun.offset if begun else 0
    if begun:
        meter.plan(there, "GET", status=204, what="upload")
    else:
        meter.plan(there, "POST", status=202, what="upload")
    if not begun or offset < size:
        meter.plan(task.read_from.registry, "GET", status=206 if offset else 200, what="blob")
    patches = sum(not part.last for part in destination.plan_upload().parts(size, offset=offset))
    meter.plan(there, "PATCH", status=202, what="upload", times=patches)
    meter.plan(there, "PUT", status=201, what="upload")
    meter.read += size - offset
    meter.written += size - offset


def _size(task: CopyBlob, context: StageContext) -> int:
    """The blob's size; if the manifest has none (docker schema 1), from an uncounted HEAD at the source.

    Raises:
        RegistryError: the blob is missing.
    """
    if task.blob.size >= 0:
        return task.blob.size
    source = context.stores.at(task.source.registry)
    with metering():
        size = source.head_blob(task.source, task.blob.digest, sure=True)
    if size is None:
        raise RegistryError(
            fault_at(
                task.source,
                "source",
                operation=f"read the blob {task.blob.digest}",
                status=404,
                code="BLOB_UNKNOWN",
                words="it is not there",
            )
        )
    return max(0, size)


def push_manifest(task: PushManifest, context: StageContext) -> ManifestPushed:
    """Predict the cost of a push."""
    meter, there = current_meter(), task.destination.repository.registry
    if task.merges:
        stored = plan_merge(task, context.stores.at(there, push=True))
        return ManifestPushed(key=task.key, stored=stored)
    meter.plan(there, "PUT", status=201, what="manifest")
    meter.written += len(task.content)
    if task.check:
        meter.plan(there, "HEAD", status=200, what="manifest")
    return ManifestPushed(key=task.key)
