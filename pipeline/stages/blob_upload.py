"""The upload of one blob into one repository, over several attempts.

Large blobs are uploaded in chunks if the registry supports it. An attempt resumes after the last confirmed
chunk. In the same process the running digest continues; after a restart it is lost, and the registry's own
digest check decides. The registry has to confirm the offset again before an upload is resumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import RegistryError, ThrottledError
from pipeline.log import Event
from pipeline.model.faults import fault_at
from pipeline.model.messages import UploadCheckpoint
from pipeline.registry.meter import current_meter
from pipeline.registry.resume import ResumingBody
from pipeline.stages.bodies import CheckedBlob, Checkpoint

if TYPE_CHECKING:
    from pipeline.errors import Fault
    from pipeline.log import Value
    from pipeline.model.messages import BlobOrigin, CopyBlob
    from pipeline.registry.image_store import ImageStore, UploadSession
    from pipeline.stages.context import StageContext

_NOT_RESUMABLE = frozenset({"DIGEST_INVALID", "DIGEST_MISMATCH", "SIZE_MISMATCH"})
"""Faults after which an upload starts over."""
_MAX_UNANSWERED = 3
"""Failed status requests after which an upload counts as lost: distribution 3 always answers 500 for a
damaged one."""
"""Faults that say nothing about the upload: the registry itself cannot be reached."""


class BlobUpload:
    """The upload attempts of one CopyBlob.

    Args:
        task: the blob, its repositories, and the checkpoint of an earlier task.
        destination: the store of the destination's registry.
        context: the worker's.
    """

    def __init__(self, task: CopyBlob, destination: ImageStore, context: StageContext) -> None:
        """See the class."""
        self._task, self._destination, self._context = task, destination, context
        self._source = context.read_store(task)
        self._size = task.blob.size
        self._session = task.session
        self._checkpoint = (
            Checkpoint(task.session.offset, None) if task.session else Checkpoint.start(task.blob.digest)
        )
        """Where to read the source from: the session's offset or earlier."""
        self._plan = destination.plan_upload()
        self._resumed_at = 0
        self._unanswered = 0
        """Failed status requests of the session."""
        self.refused = False
        """Whether the registry refused a mount."""
        self.resumed = False
        """Whether the last attempt resumed at a larger offset than any before."""
        self.has_other_form = False
        """Whether the last attempt failed because of its form, and another form or a new session is left."""
        self.began = False
        """Whether the last attempt got an upload URL; the request for it has its own retries."""

    @property
    def offset(self) -> int:
        """Bytes that the registry has confirmed."""
        return self._session.offset if self._session else 0

    def run(self, *, mount: str, fresh: bool) -> tuple[BlobOrigin, bool]:
        """Make one attempt: the blob's origin, and whether the registry confirmed its digest.

        Args:
            mount: path of a repository to mount from; empty: do not mount.
            fresh: bypass all caches when reading the source.

        Raises:
            RegistryError: of the source or the destination.
        """
        self.resumed = self.has_other_form = False
        self.began = True
        upload = None if mount else self._resume()
        if upload is None:
            self.began = False
            upload = self._destination.begin_upload(
                self._task.destination, self._task.blob.digest, mount=mount
            )
            self.began = True
            self._start_over()
        if upload is None:
            # Only a mount should get 201; in other cases the blob still has to be checked.
            return ("mounted", True) if mount else ("present", False)
        self.refused = self.refused or upload.refused
        return "uploaded", self._send(upload, fresh=fresh)

    def _resume(self) -> UploadSession | None:
        """The saved session, if it exists and has more bytes than when it was resumed last."""
        session = self._session
        if session is None:
            return None
        blob, place = self._task.blob.digest, self._task.destination
        upload = self._destination.resume_upload(place, blob, url=session.url)
        offset = self._confirmed_offset(upload, session)
        if offset is None or offset <= self._resumed_at:
            return None
        self._resumed_at, self.resumed, self._unanswered = offset, True, 0
        self._save_checkpoint(upload, offset)
        fields: dict[str, Value] = {"destination": str(place), "blob": blob, "offset": offset}
        words = f"{place}: the upload of the blob {blob} resumes after {offset} bytes"
        current_meter().events.append(Event(name="blob.resumed", message=words, fields=fields))
        return upload

    def _confirmed_offset(self, upload: UploadSession, session: UploadCheckpoint) -> int | None:
        """The bytes that the session has; None: it is gone, or too many requests for its status failed.

        Raises:
            RegistryError: the request failed.
        """
        try:
            return upload.ask_offset(least=session.offset, most=self._size)
        except RegistryError as error:
            self._unanswered += not error.fault.is_unreached
            if self._unanswered < _MAX_UNANSWERED:
                raise
            return None

    def _save_checkpoint(self, upload: UploadSession, offset: int) -> None:
        self._session = UploadCheckpoint(url=upload.url, offset=offset)
        self._context.on_checkpoint(self._session)

    def _start_over(self) -> None:
        """Discard the session."""
        if self._session:
            self._session = None
            self._context.on_checkpoint(None)
        self._checkpoint = Checkpoint.start(self._task.blob.digest)

    def _send(self, upload: UploadSession, *, fresh: bool) -> bool:
        try:
            if self._session and self._session.offset == self._size:
                return upload.commit()
            with ResumingBody(
                self._source,
                self._task.read_from,
                self._task.blob.digest,
                size=self._size,
                offset=self._checkpoint.offset,
                fresh=fresh,
            ) as pieces:
                confirmed = self._send_parts(upload, self._checked(pieces))
        except ThrottledError as error:
            if error.fault.registry != self._task.destination.registry:  # else it gets no requests now
                self._cancel_unless_saved(upload)
            raise
        except RegistryError as error:
            self._plan_next_attempt(error.fault, upload)
            raise
        self._plan.succeed()
        return confirmed

    def _checked(self, pieces: ResumingBody) -> CheckedBlob:
        """The bytes from the session's offset on."""
        self._size = self._size if self._size >= 0 else pieces.total
        if self._size < 0:
            raise RegistryError(self._size_unknown())
        blob = CheckedBlob(
            pieces,
            blob=self._task.blob,
            size=self._size,
            begin=self._checkpoint,
            source=self._task.read_from,
            on_progress=self._context.on_progress,
        )
        for _ in blob.read(self.offset - blob.offset):
            pass
        return blob

    def _send_parts(self, upload: UploadSession, blob: CheckedBlob) -> bool:
        for part in self._plan.parts(blob.size, offset=self.offset, least=upload.least, most=upload.most):
            checkpoint, begin = blob.checkpoint(), blob.offset
            if part.last:
                return upload.put(blob.part(part.count), offset=begin)
            has = upload.patch(blob.part(part.count), offset=begin if part.ranged else None)
            if part.ranged and has > begin:
                self._checkpoint = blob.checkpoint() if has == blob.offset else checkpoint
                self._save_checkpoint(upload, has)
            self._require_offset(has, blob)
        return upload.commit()

    def _require_offset(self, has: int, blob: CheckedBlob) -> None:
        if has != blob.offset:
            words = f"the registry took {has} of {blob.offset} bytes"
            raise RegistryError(
                fault_at(
                    self._task.destination,
                    "destination",
                    operation=f"upload a part of the blob {self._task.blob.digest}",
                    code="SIZE_INVALID",
                    words=words,
                    retryable=True,
                )
            )

    def _plan_next_attempt(self, fault: Fault, upload: UploadSession) -> None:
        """Decide whether the next attempt keeps the session, and whether it needs other parts."""
        only_mirror = self._task.mirror is not None and fault.side == "source"
        if fault.code in _NOT_RESUMABLE or not (fault.retryable or only_mirror):
            self._start_over()
        self._cancel_unless_saved(upload)
        if fault.side != "destination" or self._size < 0 or (self._session and fault.status is None):
            return
        self.has_other_form = self._plan.fail(
            fault, size=self._size, offset=self.offset, resumed=self.resumed
        )

    def _cancel_unless_saved(self, upload: UploadSession) -> None:
        if not self._session:
            upload.cancel()

    def _size_unknown(self) -> Fault:
        return fault_at(
            self._task.read_from,
            "source",
            operation=f"read the blob {self._task.blob.digest}",
            code="SIZE_UNKNOWN",
            words="neither the manifest nor the registry states its size",
        )
