"""Stage 3 of a plan: what a blob's way and a manifest's storing would cost, and nothing is written.

What a run would ask before it writes is really asked; from there on the requests, and the bytes of their
bodies, are counted as they would be made (delivery.py) where nothing goes wrong. Not foreseen is what only
writing can tell: refused mounts and forms of upload, digests that a registry does not confirm, redirects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import RegistryError
from pipeline.model.messages import BlobCopied, ManifestPushed
from pipeline.registry.faults import fault_at
from pipeline.registry.meter import current_meter, metering
from pipeline.stages.copy import ask_size, is_elsewhere, is_wrong, left

if TYPE_CHECKING:
    from pipeline.model.messages import CopyBlob, PushManifest
    from pipeline.registry.image_store import ImageStore
    from pipeline.registry.meter import Meter
    from pipeline.stages.context import StageContext


def copy_blob(task: CopyBlob, context: StageContext) -> BlobCopied:
    """How a blob would come into its repository, and at what cost.

    Raises:
        RegistryError: with `.fault.side` set; ThrottledError: the registry asks for a pause.
    """
    destination = context.clients.at(task.destination.registry, push=True)
    if task.ask and not is_wrong(task, ask_size(task, destination)):
        return BlobCopied(key=task.key, how="present")
    if task.blob.has_urls and is_elsewhere(task, context):
        return left(task)
    meter, there = current_meter(), task.destination.registry
    if task.mount:
        meter.foresee(there, "POST", status=201, what="upload")
    else:
        _upload(task, destination, meter, size=_size(task, context))
    if task.check:
        meter.foresee(there, "HEAD", status=200, what="blob")
    return BlobCopied(key=task.key, how="mounted" if task.mount else "uploaded")


def _upload(task: CopyBlob, destination: ImageStore, meter: Meter, *, size: int) -> None:
    there, begun = task.destination.registry, task.session
    offset = begun.offset if begun else 0
    if begun:
        meter.foresee(there, "GET", status=204, what="upload")
    else:
        meter.foresee(there, "POST", status=202, what="upload")
    if not begun or offset < size:
        meter.foresee(task.source.registry, "GET", status=206 if offset else 200, what="blob")
    parts = _parts(destination, size, offset=offset)
    meter.foresee(there, "PATCH", status=202, what="upload", times=parts)
    meter.foresee(there, "PUT", status=201, what="upload")
    meter.read += size - offset
    meter.written += size - offset


def _parts(destination: ImageStore, size: int, *, offset: int) -> int:
    """Requests that bring bytes before the one that ends the upload."""
    forms = destination.forms
    form = "chunks" if offset else forms.choose(size, failed={}, most=0)
    if form != "chunks":
        return 1 if form == "stream" else 0
    step = forms.step(size, least=0, most=0)
    last = step if forms.habit.ends_with_bytes else 0
    return max(0, -((last + offset - size) // step))


def _size(task: CopyBlob, context: StageContext) -> int:
    """Bytes of the blob; where the manifest does not say (docker schema 1), its source is asked, uncounted.

    Raises:
        RegistryError: it is not there.
    """
    if task.blob.size >= 0:
        return task.blob.size
    source = context.clients.at(task.source.registry)
    with metering():
        try:
            size = source.head_blob(task.source, task.blob.digest, sure=True)
        except RegistryError as error:
            raise error.on("source") from error
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


def push_manifest(task: PushManifest, _context: StageContext) -> ManifestPushed:
    """A manifest would be stored."""
    meter, there = current_meter(), task.destination.repository.registry
    meter.foresee(there, "PUT", status=201, what="manifest")
    meter.written += len(task.content)
    if task.check:
        meter.foresee(there, "HEAD", status=200, what="manifest")
    return ManifestPushed(key=task.key)
