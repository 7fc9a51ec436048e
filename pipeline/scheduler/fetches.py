"""Fetches: a manifest is read once for all open images that want it.

What is held has a bound: beyond it only the image that began to read first reads on, so that it can end and
let go of what it holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.scheduler.notices import Fetched, FetchFailed
from pipeline.settings import MIB

if TYPE_CHECKING:
    from pipeline.errors import Fault
    from pipeline.model.manifest import Manifest
    from pipeline.model.messages import FetchManifest
    from pipeline.scheduler.shared_state import SharedState


_GUESS = MIB
"""Bytes of a manifest as long as none has been seen: few are asked for at first."""


@dataclass(slots=True)
class Fetch:
    """One manifest that open images want."""

    task: FetchManifest
    images: dict[str, None] = field(default_factory=dict)
    """Keys, in the order in which they came."""
    manifest: Manifest | None = None


class Fetches:
    """The ledger of reads; what was read is told to images."""

    def __init__(self, state: SharedState, *, most: int) -> None:
        """Nothing is read; `most`: bytes of manifests held beyond which only one image reads on."""
        self._state = state
        self._readings: dict[str, Fetch] = {}
        self._of_image: dict[str, set[str]] = {}
        self._pending: dict[str, int] = {}
        self._most = most
        self._largest = 0
        self._waiting: dict[str, None] = {}
        """Keys of reads that wait until there is room for what they bring."""
        self._asked: set[str] = set()
        """Keys of reads that are ready or running."""
        self.bytes_held = 0
        """Bytes of the manifests that open images refer to."""

    def want(self, image: str, task: FetchManifest) -> Manifest | None:
        """An image wants a manifest: it is returned where it has been read already, else told later."""
        reading = self._readings.get(task.key)
        if reading is None:
            reading = self._readings[task.key] = Fetch(task)
            self._waiting[task.key] = None
        if image not in reading.images:
            reading.images[image] = None
            self._of_image.setdefault(image, set()).add(task.key)
            if reading.manifest is None:
                self._pending[image] = self._pending.get(image, 0) + 1
        self._ask()
        return reading.manifest

    def _ask(self) -> None:
        """Ask for what there is room for, and for what the eldest image wants in any case."""
        guess = self._largest or _GUESS
        while self._waiting and self.bytes_held + (len(self._asked) + 1) * guess <= self._most:
            self._ask_for(next(iter(self._waiting)))
        if self._waiting:
            eldest = next(iter(self._of_image))
            for key in [key for key in self._of_image[eldest] if key in self._waiting]:
                self._ask_for(key)

    def _ask_for(self, key: str) -> None:
        del self._waiting[key]
        self._asked.add(key)
        self._state.ready(self._readings[key].task)

    def returned(self, task: FetchManifest) -> bool:
        """A read came back undone; False: nobody needs it any more."""
        reading = self._readings.get(task.key)
        if reading is None:
            return False
        if not reading.images:
            self._forget(task.key)
            return False
        return self._state.ready(task)

    def _forget(self, key: str) -> None:
        self._asked.discard(key)
        self._waiting.pop(key, None)
        reading = self._readings.pop(key)
        if reading.manifest is not None:
            self.bytes_held -= len(reading.manifest.content)

    def pending(self, image: str) -> bool:
        """Whether the image still waits for a read."""
        return self._pending.get(image, 0) > 0

    def got(self, task: FetchManifest, manifest: Manifest) -> None:
        """A read ended well."""
        reading = self._readings.get(task.key)
        if reading is None or reading.manifest is not None:
            return
        if not reading.images:
            self._forget(task.key)
            return
        self._asked.discard(task.key)
        reading.manifest = manifest
        self._largest = max(self._largest, len(manifest.content))
        self.bytes_held += len(manifest.content)
        for image in reading.images:
            self._pending[image] -= 1
            self._state.notices.append(Fetched(image, manifest))
        self._ask()

    def failed(self, task: FetchManifest, fault: Fault) -> None:
        """A read failed, for all images that want it."""
        reading = self._readings.get(task.key)
        if reading is None:
            return
        self._forget(task.key)
        for image in reading.images:
            self._pending[image] -= 1
            self._of_image[image].discard(task.key)
            self._state.notices.append(FetchFailed(image, task, fault))
        self._ask()

    def leave(self, image: str) -> None:
        """An image has ended; what no other image refers to is dropped."""
        self._pending.pop(image, None)
        for key in self._of_image.pop(image, ()):
            reading = self._readings[key]
            del reading.images[image]
            if reading.images or self._state.queue.running(key):
                continue
            self._state.queue.drop(key)
            self._forget(key)
        self._ask()

    def first_image(self, key: str) -> str:
        """An open image that waits for the read; empty: none."""
        reading = self._readings.get(key)
        return next(iter(reading.images), "") if reading else ""
