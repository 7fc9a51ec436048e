"""What the records say about images of this run and of earlier runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import Fault
from pipeline.scheduler.image import SINGLE_TYPES

if TYPE_CHECKING:
    from pipeline.model.facts import ImageRow
    from pipeline.model.manifest import Manifest
    from pipeline.model.messages import ManifestHead
    from pipeline.model.reference import Reference
    from pipeline.scheduler.image import Image
    from pipeline.scheduler.manifest_need import Presence
    from pipeline.scheduler.notices import Looked
    from pipeline.scheduler.shared_state import SharedState


class PreviousResults:
    """Reads the rows of images."""

    def __init__(self, state: SharedState) -> None:
        """See the class."""
        self._state = state

    def row(self, source: Reference | str, destination: Reference, rule: int) -> ImageRow | None:
        """The last result of an image with the options of this rule."""
        pruning = self._state.options[rule].pruning
        return self._state.facts.image(str(source), str(destination), str(pruning))

    def companions_owed(self, image: Image) -> int:
        """The companions that an earlier run could not store, if the rule still wants companions."""
        row = self.row(image.source, image.destination, image.rule)
        return row.companions_owed if row and image.options.referrers.when != "no" else 0

    def has_ended(self, source: Reference, destination: Reference, rule: int) -> bool:
        """Whether the image has come to an end in this run."""
        row = self.row(source, destination, rule)
        return row is not None and row.run == self._state.run

    def rival(self, image: Image) -> ImageRow | None:
        """The result of the image that has claimed the same destination."""
        claim = self._state.facts.claim(str(image.destination))
        return self.row(claim.source, image.destination, claim.rule) if claim else None

    def digest(self, image: Image) -> str:
        """The last known digest of the destination."""
        row = self.row(image.source, image.destination, image.rule)
        return row.destination_digest if row else ""

    def arrived(self, image: Image) -> ImageRow | None:
        """The image's row, if the image was at its destination."""
        row = self.row(image.source, image.destination, image.rule)
        return row if row and row.result in ("copied", "unchanged") else None

    def vouches(self, image: Image, source: ManifestHead, there: ManifestHead) -> bool:
        """Whether the records, or the kind of the manifest, prove that equal digests are a complete image."""
        if image.required not in ("", there.digest):
            return False
        if self.is_recorded(image, source.digest, there.digest):
            return True
        same = source.digest == there.digest and source.media_type in SINGLE_TYPES
        return same and not image.options.platforms.active

    def is_as_listed(self, image: Image, notice: Looked) -> bool:
        """Whether the records confirm what a listing and the other side's answer say; a fault is final."""
        there = notice.found
        if there is None or isinstance(there, Fault):
            return there is not None
        return self.is_recorded(image, notice.source.digest, there.digest)

    def is_recorded(self, image: Image, source: str, destination: str) -> bool:
        """Whether the records say that the image was at its destination with these digests; empty: any."""
        row = self.arrived(image)
        return row is not None and all(
            found in ("", known) and known
            for found, known in ((source, row.source_digest), (destination, row.destination_digest))
        )

    def lists(self, image: Image, source: ManifestHead) -> bool:
        """Whether the destination listed these referrers itself, so that it has no fallback tag."""
        row = None if image.options.force else self.arrived(image)
        return row is not None and (row.source_digest, row.destination_digest) == (source.digest, "")

    def may_be_foreign(self, image: Image, top: Manifest, there: ManifestHead) -> bool:
        """Whether it may be the same index, written by another tool; one that we wrote is outdated."""
        if top.kind != "index" or image.required:
            return False
        row = self.arrived(image)
        return row is None or row.destination_digest != there.digest

    def presence(self, image: Image, manifest: Manifest, reference: Reference, *, equal: bool) -> Presence:
        """What is believed about a manifest at the destination; `equal`: the tag has the right digest."""
        here = reference.repository
        if not reference.is_digest or reference == image.destination:
            return "exists" if equal else "damaged" if image.damaged else "missing"
        own = image.source.repository == here and manifest.digest in image.tree
        if own or self._state.holds(here, manifest.digest):
            return "check" if image.doubts else "complete"
        if image.options.force:
            return "missing"
        known = equal or image.found is not None or self._state.facts.held(here, manifest.digest)
        return "check" if known else "missing"
