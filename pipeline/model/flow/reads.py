"""Reading once: a manifest is read once for all open images that want it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.errors import Fault
    from pipeline.model.flow.desk import Desk
    from pipeline.model.manifest import Manifest
    from pipeline.model.messages import Read


@dataclass(slots=True)
class Reading:
    """One manifest that open images want."""

    task: Read
    images: dict[str, None] = field(default_factory=dict)
    """Keys, in the order in which they came."""
    manifest: Manifest | None = None


class Reads:
    """The ledger of reads.

    Args:
        desk: the common desk.
        on_got: called with (image key, task, manifest).
        on_failed: called with (image key, task, fault).
    """

    def __init__(
        self,
        desk: Desk,
        *,
        on_got: Callable[[str, Read, Manifest], None],
        on_failed: Callable[[str, Read, Fault], None],
    ) -> None:
        """See the class."""
        self._desk = desk
        self._on_got = on_got
        self._on_failed = on_failed
        self._readings: dict[str, Reading] = {}
        self._of_image: dict[str, set[str]] = {}
        self._pending: dict[str, int] = {}
        self.bytes_held = 0
        """Bytes of the manifests that open images refer to."""

    def want(self, image: str, task: Read) -> Manifest | None:
        """An image wants a manifest: it is returned where it has been read already, else `on_got` follows."""
        reading = self._readings.get(task.key)
        if reading is None:
            reading = self._readings[task.key] = Reading(task)
            self._desk.ready(task)
        if image not in reading.images:
            reading.images[image] = None
            self._of_image.setdefault(image, set()).add(task.key)
            if reading.manifest is None:
                self._pending[image] = self._pending.get(image, 0) + 1
        return reading.manifest

    def pending(self, image: str) -> bool:
        """Whether the image still waits for a read."""
        return self._pending.get(image, 0) > 0

    def got(self, task: Read, manifest: Manifest) -> None:
        """A read ended well."""
        reading = self._readings.get(task.key)
        if reading is None or reading.manifest is not None:
            return
        if not reading.images:
            del self._readings[task.key]
            return
        reading.manifest = manifest
        self.bytes_held += len(manifest.content)
        for image in list(reading.images):
            if image in reading.images:
                self._pending[image] -= 1
                self._on_got(image, task, manifest)

    def failed(self, task: Read, fault: Fault) -> None:
        """A read failed, for all images that want it."""
        reading = self._readings.pop(task.key, None)
        images = list(reading.images) if reading else []
        for image in images:
            self._pending[image] -= 1
            self._of_image[image].discard(task.key)
        for image in images:
            self._on_failed(image, task, fault)

    def leave(self, image: str) -> None:
        """An image has ended; what no other image refers to is dropped."""
        self._pending.pop(image, None)
        for key in self._of_image.pop(image, ()):
            reading = self._readings[key]
            del reading.images[image]
            if reading.images or self._desk.queue.running(key):
                continue
            self._desk.queue.drop(key)
            if reading.manifest is not None:
                self.bytes_held -= len(reading.manifest.content)
            del self._readings[key]

    def first_image(self, key: str) -> str:
        """An open image that waits for the read; empty: none."""
        reading = self._readings.get(key)
        return next(iter(reading.images), "") if reading else ""
