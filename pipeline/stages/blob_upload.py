"""One blob on its way into one repository, over as many tries as it takes.

A large blob goes up in chunks where the registry takes them. Each one that was confirmed is kept: by the next
try with the running digest, by the next process without it, so that there the registry's own check of the
digest decides. Only what the registry itself confirms again is gone on from.
"""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING

from pipeline.errors import Fault, RegistryError, ThrottledError
from pipeline.log import Event
from pipeline.model.messages import UploadCheckpoint
from pipeline.registry.faults import fault_at
from pipeline.registry.meter import current_meter
from pipeline.registry.resume import ResumingBody
from pipeline.registry.upload_strategy import refused_from
from pipeline.stages.bodies import CheckedBlob, Checkpoint

if TYPE_CHECKING:
    from pipeline.errors import Side
    from pipeline.log import Value
    from pipeline.model.messages import BlobOrigin, CopyBlob
    from pipeline.registry.image_store import ImageStore, UploadSession
    from pipeline.registry.upload_strategy import UploadForm
    from pipeline.stages.context import StageContext

_SPOILT = frozenset({"DIGEST_INVALID", "DIGEST_MISMATCH", "SIZE_MISMATCH"})
"""Faults after which nothing that was sent is worth going on from."""
_SILENT = 3
"""Questions in vain after which a session is gone: distribution 3 answers 500 for ever on a damaged one."""
_UNREACHABLE = frozenset({"UNREACHABLE", "CERTIFICATE"})
"""Faults that say nothing of a session: the registry itself cannot be reached."""


class BlobUpload:
    """The tries of one Move.

    Args:
        task: what is to be brought where, and what an earlier task has left.
        destination: the client of its registry.
        context: the worker's.
    """

    def __init__(self, task: CopyBlob, destination: ImageStore, context: StageContext) -> None:
        """See the class."""
        self._task, self._destination, self._context = task, destination, context
        self._source = context.clients.at(task.source.registry)
        self._size = task.blob.size
        self._session = task.session
        self._mark = (
            Checkpoint(task.session.offset, None) if task.session else Checkpoint.start(task.blob.digest)
        )
        """Where reading the source begins: at the session's offset or before."""
        self._form: UploadForm = "whole"
        self._least = self._most = 0
        self._failed: dict[UploadForm, int] = {}
        self._troubles: Counter[tuple[UploadForm, int]] = Counter()
        """By form and offset at which it failed."""
        self._resumed_at = 0
        self._silent = 0
        """How often the session gave no answer that says what it has."""
        self._chunk = 0
        """Bytes of the first chunk, until one of that size was taken; 0: the size is not in doubt."""
        self.refused = False
        """Whether a mount was asked for and not given."""
        self.went_on = False
        """Whether the last try began farther on than any before."""
        self.has_other_form = False
        """Whether the last try failed by its form, and another one is left, or a session of its own."""
        self.began = False
        """Whether the last try got an answer on where the bytes go: asking for it has its own retries."""

    @property
    def offset(self) -> int:
        """Bytes that need not be sent again."""
        return self._session.offset if self._session else 0

    def run(self, *, mount: str, fresh: bool) -> tuple[BlobOrigin, bool]:
        """One try: how the blob came to be there, and whether the registry has confirmed its digest.

        Args:
            mount: path of a repository to mount from; empty: it is not tried.
            fresh: read the source past all caches.

        Raises:
            RegistryError: with its side.
        """
        self.went_on = self.has_other_form = False
        self.began, self._chunk = True, 0
        try:
            upload = self._resume() if self._session and not mount else None
            if upload is None:
                self.began = False
                upload = self._destination.begin_upload(
                    self._task.destination, self._task.blob.digest, mount=mount
                )
                self.began = True
                self._drop()
        except RegistryError as error:
            raise error.on("destination") from error
        if upload is None:
            # Only a mount is answered with 201: what else is there before it was sent is yet to be seen.
            return ("mounted", True) if mount else ("present", False)
        self.refused = self.refused or upload.refused
        return "uploaded", self._send(upload, fresh=fresh)

    def _resume(self) -> UploadSession | None:
        """The session that was kept, if it lives, and has got farther since it was gone on from last."""
        session, self._form = self._session, "chunks"
        if session is None:
            return None
        blob, place = self._task.blob.digest, self._task.destination
        upload = self._destination.resume_upload(place, blob, url=session.url)
        offset = self._ask(upload, session)
        if offset is None or offset <= self._resumed_at:
            return None
        self._resumed_at, self.went_on, self._silent = offset, True, 0
        self._keep(upload, offset)
        fields: dict[str, Value] = {"destination": str(place), "blob": blob, "offset": offset}
        words = f"{place}: the upload of the blob {blob} goes on after {offset} bytes"
        current_meter().events.append(Event(name="blob.resumed", message=words, fields=fields))
        return upload

    def _ask(self, upload: UploadSession, session: UploadCheckpoint) -> int | None:
        """The bytes that the session has; None: it is gone, or has not answered for too long.

        Raises:
            RegistryError: it does not answer now.
        """
        try:
            return upload.ask_offset(least=session.offset, most=self._size)
        except ThrottledError:
            raise
        except RegistryError as error:
            self._silent += error.fault.code not in _UNREACHABLE
            if self._silent < _SILENT:
                raise
            return None

    def _keep(self, upload: UploadSession, offset: int) -> None:
        self._session = UploadCheckpoint(url=upload.url, offset=offset)
        self._context.kept(self._session)

    def _drop(self) -> None:
        """Begin anew."""
        if self._session:
            self._session = None
            self._context.kept(None)
        self._mark = Checkpoint.start(self._task.blob.digest)

    def _send(self, upload: UploadSession, *, fresh: bool) -> bool:
        try:
            if self._session and self._session.offset == self._size:
                return upload.commit()
            with ResumingBody(
                self._source,
                self._task.source,
                self._task.blob.digest,
                size=self._size,
                offset=self._mark.offset,
                fresh=fresh,
            ) as pieces:
                confirmed = self._send_as(upload, self._checked(pieces))
        except ThrottledError as error:
            if error.fault.registry != self._task.destination.registry:  # else it is asked nothing now
                self._let_go(upload)
            raise error.on(self._side(error.fault)) from error
        except RegistryError as error:
            error.on(self._side(error.fault))
            self._judge(error.fault, upload)
            raise
        self._destination.forms.learn(self._failed)
        return confirmed

    def _checked(self, pieces: ResumingBody) -> CheckedBlob:
        """The bytes from where the session ends."""
        self._size = self._size if self._size >= 0 else pieces.total
        if self._size < 0:
            raise RegistryError(self._sizeless())
        blob = CheckedBlob(
            pieces,
            blob=self._task.blob,
            size=self._size,
            begin=self._mark,
            source=self._task.source,
            moved=self._context.moved,
        )
        for _ in blob.take(self.offset - blob.offset):
            pass
        return blob

    def _send_as(self, upload: UploadSession, blob: CheckedBlob) -> bool:
        if not self._session:
            self._least, self._most = upload.least, upload.most
            self._form = self._destination.forms.choose(blob.size, failed=self._failed, most=upload.most)
        if self._form == "whole":
            return upload.put(blob.part(blob.size))
        if self._form == "chunks":
            return self._send_chunks(upload, blob)
        has = upload.patch(blob.part(blob.size), offset=None)
        self._expect(has, blob)
        return upload.commit()

    def _send_chunks(self, upload: UploadSession, blob: CheckedBlob) -> bool:
        forms = self._destination.forms
        step = forms.step(blob.size, least=self._least, most=self._most)
        last = step if forms.habit.ends_with_bytes else 0
        self._chunk = min(step, blob.left)
        while blob.left > last:
            mark, begin = blob.mark(), blob.offset
            has = upload.patch(blob.part(min(step, blob.left)), offset=begin)
            self._chunk = 0
            if has > begin:
                self._mark = blob.mark() if has == blob.offset else mark
                self._keep(upload, has)
            self._expect(has, blob)
        return upload.put(blob.part(blob.left), offset=blob.offset) if blob.left else upload.commit()

    def _expect(self, has: int, blob: CheckedBlob) -> None:
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

    def _judge(self, fault: Fault, upload: UploadSession) -> None:
        """What a failed try means for the next one: the session, and the form."""
        if fault.code in _SPOILT or not fault.retryable:
            self._drop()
        self._let_go(upload)
        if fault.side != "destination" or self._size < 0 or (self._session and fault.status is None):
            return
        self._troubles[self._form, self.offset] += 1
        troubles = self._troubles[self._form, self.offset]
        size = refused_from(fault.status, fault.code, troubles=troubles, size=self._size)
        if size is not None:
            self.has_other_form = self._has_other_form(fault, size)

    def _has_other_form(self, fault: Fault, size: int) -> bool:
        """Whether the blob can go up otherwise, after its form failed from `size` on."""
        forms = self._destination.forms
        if (
            fault.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            and not self._most
            and forms.halve(self._chunk)
        ):
            return True
        if self.went_on and fault.status is not None and fault.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return True  # sizes of parts are only said where a session begins
        self._failed[self._form] = size
        return forms.has_other(self._size, failed=self._failed, most=self._most)

    def _let_go(self, upload: UploadSession) -> None:
        if not self._session:
            upload.cancel()

    def _side(self, fault: Fault) -> Side:
        """Where a body broke: it is read from the source while it is sent."""
        source = self._task.source
        return (
            "source"
            if (fault.registry, fault.repository) == (source.registry, source.path)
            else "destination"
        )

    def _sizeless(self) -> Fault:
        return fault_at(
            self._task.source,
            "source",
            operation=f"read the blob {self._task.blob.digest}",
            code="SIZE_UNKNOWN",
            words="neither the manifest nor the registry says how many bytes it has",
        )
