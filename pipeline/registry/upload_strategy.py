"""In which form a blob is uploaded: one request, a stream, or chunks.

One PUT with the whole body works nearly everywhere and costs least, but after a failure it starts over.
Chunks resume after the last confirmed one, which pays off for large blobs. Registries do not say which forms
they support: if one fails, the next one is tried, and the process remembers what succeeded.
"""

from __future__ import annotations

import re
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

from pipeline.dataclass import dataclass
from pipeline.registry.image_store import UploadPart
from pipeline.settings import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.errors import Fault
    from pipeline.settings import Uploads

UploadForm = Literal["whole", "stream", "chunks"]
"""whole: one PUT. stream: one PATCH without a range, then a PUT. chunks: PATCHes with ranges, then a PUT."""

_REFUSING = frozenset({404, 405, 413, 415, 416, 501})
"""Answers to a first body after which another form may succeed."""
_OF_ANY_SIZE = frozenset({405, 415, 501})
"""Those that do not depend on the body's size."""
_LEAST_CHUNK = 64 * KIB
"""Minimum bytes of a chunk, whatever a registry announces: each chunk is a row in the records."""
_HALVED_TO = MIB
"""A 413 halves chunks down to this many bytes: nginx accepts them by default."""
_TROUBLES = 2
"""Lost connections or 5xx at one offset, after which the form counts as unsupported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """What is known of a registry from its name."""

    forms: tuple[UploadForm, ...] = ("whole", "chunks")
    """The forms for a blob that is not large, best first."""
    chunk: int = 0
    """Bytes of a chunk; 0: by the settings."""
    parts: int = 0
    """Maximum chunks of one blob; 0: no known limit."""
    ends_with_bytes: bool = False
    """Whether the last chunk must be the body of the PUT that ends the upload."""


_USUAL = Quirks()
_QUIRKS: tuple[tuple[re.Pattern[str], Quirks], ...] = (
    # 416 above 4 MiB for a PATCH with a range (ocx-sh/ocx#237); of several PATCHes only the last one counts.
    (re.compile(r"(.+\.)?ghcr\.io"), Quirks(forms=("whole", "stream"))),
    # No chunks at all (containers/skopeo#1101); gcr.io supports them.
    (re.compile(r".+-docker\.pkg\.dev"), Quirks(forms=("whole",))),
    # Parts of 5 to 10 MiB, 4,200 at most (Amazon ECR service quotas); an empty last PUT got a 500.
    (
        re.compile(r".+\.dkr[.-]ecr[.-].+|public\.ecr\.aws"),
        Quirks(chunk=10 * MIB, parts=4_200, ends_with_bytes=True),
    ),
    # Long PUTs are cut off; chunks of up to 4 MiB are not.
    (re.compile(r".+\.azurecr\.[a-z]+"), Quirks(chunk=4 * MIB)),
)


class UploadStrategy:
    """Which forms one registry supports, as far as this process knows; thread-safe."""

    def __init__(self, registry: str, uploads: Uploads) -> None:
        """`registry`: its canonical name."""
        self.quirks = next((quirks for name, quirks in _QUIRKS if name.fullmatch(registry)), _USUAL)
        self._uploads = uploads
        self._refused: dict[UploadForm, int] = {}
        """By form: it fails for blobs of this many bytes or more."""
        self._halved = 0
        """Maximum bytes of a chunk after a 413; 0: there was none."""

    def choose(self, size: int, *, failed: Mapping[UploadForm, int], most: int) -> UploadForm:
        """The form for a blob of `size` bytes.

        Args:
            size: bytes of the blob.
            failed: forms that failed for this blob; the best one is repeated if no other is left.
            most: maximum bytes of a body that the registry announced; 0: none.
        """
        order = self._order(size, most)
        left = [form for form in order if form not in failed]
        fit = [form for form in left if size < self._refused.get(form, size + 1)]
        return (fit or left or order)[0]

    def has_other(self, size: int, *, failed: Mapping[UploadForm, int], most: int) -> bool:
        """Whether a form is left that has not failed for this blob."""
        return any(form not in failed for form in self._order(size, most))

    def learn(self, failed: Mapping[UploadForm, int]) -> None:
        """A blob was uploaded after `failed` forms: do not try those again from these sizes on."""
        for form, size in failed.items():
            self._refused[form] = min(size, self._refused.get(form, size))

    def step(self, size: int, *, least: int, most: int) -> int:
        """Bytes of a chunk of a blob of `size` bytes; `least` and `most`: announced limits, 0: none."""
        least_chunk = self._uploads.chunk
        step = self.quirks.chunk or max(least_chunk, min(4 * least_chunk, size // 64))
        step = max(min(step, self._halved or step), least)
        return min(step, max(most, _LEAST_CHUNK)) if most else step

    def halve(self, chunk: int) -> bool:
        """The registry refused a chunk of that many bytes as too large; whether to try smaller ones."""
        if chunk <= _HALVED_TO:
            return False
        self._halved = min(max(_HALVED_TO, chunk // 2), self._halved or chunk)
        return True

    def _order(self, size: int, most: int) -> tuple[UploadForm, ...]:
        quirks = self.quirks
        large = size > self._uploads.above or 0 < most < size
        if "chunks" not in quirks.forms or not large or (quirks.parts and size > quirks.parts * quirks.chunk):
            return quirks.forms
        return ("chunks", "whole")


class FormPlan:
    """An UploadPlan by what is known of the registry, and by what failed for the blob."""

    def __init__(self, strategy: UploadStrategy) -> None:
        """Start without failures."""
        self._strategy = strategy
        self._form: UploadForm = "whole"
        self._least = self._most = 0
        self._first = 0
        """Bytes of the session's first chunk until the registry has accepted it; 0: accepted."""
        self._failed: dict[UploadForm, int] = {}
        self._troubles: Counter[tuple[UploadForm, int]] = Counter()
        """Failures by form and offset."""

    def parts(self, size: int, *, offset: int = 0, least: int = 0, most: int = 0) -> Iterator[UploadPart]:
        """See UploadPlan; only chunks can resume, so an offset means chunks."""
        self._first = 0
        if offset:
            self._form = "chunks"
        else:
            self._least, self._most = least, most
            self._form = self._strategy.choose(size, failed=self._failed, most=most)
        if self._form == "chunks":
            return self._chunks(size, offset=offset)
        return iter([UploadPart(count=size, last=self._form == "whole", ranged=False)])

    def _chunks(self, size: int, *, offset: int) -> Iterator[UploadPart]:
        step = self._strategy.step(size, least=self._least, most=self._most)
        last = step if self._strategy.quirks.ends_with_bytes else 0
        self._first = min(step, size - offset)
        while size - offset > last:
            count = min(step, size - offset)
            yield UploadPart(count=count)
            self._first, offset = 0, offset + count
        if offset < size:
            yield UploadPart(count=size - offset, last=True)

    def fail(self, fault: Fault, *, size: int, offset: int, resumed: bool) -> bool:
        """See UploadPlan."""
        form = self._form = "chunks" if offset else self._form
        self._troubles[form, offset] += 1
        troubles = self._troubles[form, offset]
        refused = refused_from(fault.status, fault.code, troubles=troubles, size=size)
        if refused is None:
            return False
        too_large = fault.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and not self._most
        if too_large and self._strategy.halve(self._first):
            return True
        if resumed and fault.status is not None and fault.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return True  # registries announce limits of chunks only when a session begins
        self._failed[form] = refused
        return self._strategy.has_other(size, failed=self._failed, most=self._most)

    def succeed(self) -> None:
        """See UploadPlan."""
        self._strategy.learn(self._failed)


def refused_from(status: int | None, code: str, *, troubles: int, size: int) -> int | None:
    """From how many bytes on a form counts as unsupported after it failed; None: it may still succeed.

    Args:
        status: of the answer to the first body; None: there was none.
        code: of the fault.
        troubles: failures of this form at this offset of the blob, including this one.
        size: bytes of the blob.
    """
    if status in _REFUSING:
        return 0 if status in _OF_ANY_SIZE else size
    lost = status is None and code in ("CONNECTION_LOST", "TIMEOUT")
    broken = status is not None and status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return size if (lost or broken) and troubles >= _TROUBLES else None
