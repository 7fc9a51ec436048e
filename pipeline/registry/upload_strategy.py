"""The forms in which a blob can go up, and which of them a registry takes.

One PUT with the whole body works nearly everywhere and costs least, but what broke is lost. Chunks can go on
from the last one that was confirmed, which pays for large blobs. Where one form is refused the next one is
tried, and the process remembers what led to success: registries do not say what they take.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.settings import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.settings import Uploads

UploadForm = Literal["whole", "stream", "chunks"]
"""whole: one PUT. stream: one PATCH without a range. chunks: PATCHes with ranges; both end with a PUT."""

_REFUSING = frozenset({404, 405, 413, 415, 416, 501})
"""Answers to a first body that say that another form may be taken."""
_OF_ANY_SIZE = frozenset({405, 415, 501})
"""Those that do not depend on how large the body was."""
_LEAST_CHUNK = 64 * KIB
"""Bytes of a chunk at least, whatever a registry says: each one is noted in the records."""
_HALVED_TO = MIB
"""Bytes of a chunk down to which a 413 halves chunks: what every proxy lets through by default (nginx)."""
_TROUBLES = 2
"""Connections that break without a word, or 5xx, after which the form itself is suspected."""
_SERVERS_FAULT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """What is known of a registry by its name."""

    forms: tuple[UploadForm, ...] = ("whole", "chunks")
    """That are to be tried, for a blob that is not large; the first one is the best."""
    chunk: int = 0
    """Bytes of a chunk; 0: as the settings say."""
    parts: int = 0
    """Chunks of one blob at most; 0: no limit is known."""
    ends_with_bytes: bool = False
    """Whether the last chunk has to come with the PUT that ends the upload."""


_USUAL = Quirks()
_HABITS: tuple[tuple[re.Pattern[str], Quirks], ...] = (
    # 416 above 4 MiB for a PATCH with a range (ocx-sh/ocx#237); of several PATCHes only the last one counts.
    (re.compile(r"(.+\.)?ghcr\.io"), Quirks(forms=("whole", "stream"))),
    # No chunks at all (containers/skopeo#1101); gcr.io takes them.
    (re.compile(r".+-docker\.pkg\.dev"), Quirks(forms=("whole",))),
    # Parts of 5 to 10 MiB, 4,200 at most (Amazon ECR service quotas); an empty last PUT got a 500.
    (
        re.compile(r".+\.dkr[.-]ecr[.-].+|public\.ecr\.aws"),
        Quirks(chunk=10 * MIB, parts=4_200, ends_with_bytes=True),
    ),
    # Long PUTs are cut; chunks of up to 4 MiB are never.
    (re.compile(r".+\.azurecr\.[a-z]+"), Quirks(chunk=4 * MIB)),
)


class UploadStrategies:
    """The forms of one registry, as this process knows them; any thread may ask and teach."""

    def __init__(self, registry: str, uploads: Uploads) -> None:
        """`registry`: its canonical name."""
        self.habit = next((habit for name, habit in _HABITS if name.fullmatch(registry)), _USUAL)
        self._uploads = uploads
        self._refused: dict[UploadForm, int] = {}
        """By form: bytes from which on it is of no use."""
        self._halved = 0
        """Bytes of a chunk at most, after the registry refused larger ones; 0: it refused none."""

    def choose(self, size: int, *, failed: Mapping[UploadForm, int], most: int) -> UploadForm:
        """The form for a blob.

        Args:
            size: bytes of the blob.
            failed: forms that this very blob has failed in; the best one again where no other is left.
            most: bytes of a body that the registry says it takes; 0: it does not say.
        """
        order = self._order(size, most)
        left = [form for form in order if form not in failed]
        fit = [form for form in left if size < self._refused.get(form, size + 1)]
        return (fit or left or order)[0]

    def has_other(self, size: int, *, failed: Mapping[UploadForm, int], most: int) -> bool:
        """Whether there is a form that the blob has not failed in."""
        return any(form not in failed for form in self._order(size, most))

    def learn(self, failed: Mapping[UploadForm, int]) -> None:
        """A blob went up after other forms had failed: those are not tried again from such sizes on."""
        for form, size in failed.items():
            self._refused[form] = min(size, self._refused.get(form, size))

    def step(self, size: int, *, least: int, most: int) -> int:
        """Bytes of one chunk of a blob of `size` bytes; `least`, `most` as the registry says, 0: nothing."""
        least_chunk = self._uploads.chunk
        step = self.habit.chunk or max(least_chunk, min(4 * least_chunk, size // 64))
        step = max(min(step, self._halved or step), least)
        return min(step, max(most, _LEAST_CHUNK)) if most else step

    def halve(self, chunk: int) -> bool:
        """A chunk of so many bytes was too large; whether smaller ones are worth a try."""
        if chunk <= _HALVED_TO:
            return False
        self._halved = min(max(_HALVED_TO, chunk // 2), self._halved or chunk)
        return True

    def _order(self, size: int, most: int) -> tuple[UploadForm, ...]:
        habit = self.habit
        large = size > self._uploads.above or 0 < most < size
        if "chunks" not in habit.forms or not large or (habit.parts and size > habit.parts * habit.chunk):
            return habit.forms
        return ("chunks", "whole")


def refused_from(status: int | None, code: str, *, troubles: int, size: int) -> int | None:
    """Bytes from which on a form is of no use, after it failed for a blob of `size`; None: it still may be.

    Args:
        status: of the answer to the first body; None: none came.
        code: of the fault.
        troubles: how often this form failed for the blob at the same place, this time included.
        size: bytes of the blob.
    """
    if status in _REFUSING:
        return 0 if status in _OF_ANY_SIZE else size
    lost = status is None and code in ("CONNECTION_LOST", "TIMEOUT")
    broken = status is not None and status >= _SERVERS_FAULT
    return size if (lost or broken) and troubles >= _TROUBLES else None
