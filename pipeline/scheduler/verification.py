"""Verification: every manifest and blob of an image is requested; nothing is assumed or copied.

Manifests are read at the destination, by digest: one request proves that a manifest is there, that its bytes
are right, and what it names. So the source, which may count pulls, is only asked for its digest. It is read
if the destination has another digest, or if a platform filter needs the whole index.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from pipeline.model.companions import is_fallback
from pipeline.model.faults import FORCE_HINT, absent, different
from pipeline.model.messages import FetchManifest
from pipeline.model.pruning import Pruning
from pipeline.model.reference import Reference
from pipeline.scheduler.images import Images

if TYPE_CHECKING:
    from pipeline.errors import Fault
    from pipeline.model.manifest import Manifest
    from pipeline.model.messages import ManifestHead
    from pipeline.scheduler.image import Image
    from pipeline.scheduler.image_results import ImageResults
    from pipeline.scheduler.manifest_need import Presence
    from pipeline.scheduler.quarantine import Quarantine
    from pipeline.scheduler.shared_state import SharedState
    from pipeline.settings import Settings


class Verification(Images):
    """The ledger of images that are compared."""

    def __init__(
        self, state: SharedState, results: ImageResults, settings: Settings, *, quarantine: Quarantine
    ) -> None:
        """Settings.deep: manifests are read even if their digest is known."""
        super().__init__(state, results, settings, quarantine=quarantine)
        self._deep = settings.deep

    def _compare(self, image: Image, source: ManifestHead) -> None:
        """Compare both sides; the source's digest is enough if this run has seen it complete.

        With a filter the source must be read, since a missing image may have nothing that is selected.
        """
        there, here = image.found, image.destination.repository
        if not self._is_same(image) and self._is_held(image):
            return
        if there is None and not (image.pruning.active or is_fallback(image.destination)):
            self._miss(image)
        elif there is not None and self._is_same(image) and self._state.holds(here, source.digest):
            self._unchanged(image, "", there.digest)
        else:
            self._begin_to_read(image)

    def _keep(self, image: Image, there: ManifestHead) -> None:
        """A tag that the rule never moves must be complete, but need not be the source's."""
        image.how, image.source_digest = "kept, not compared", there.digest
        image.pruning = Pruning()
        self._begin_to_read(image)

    def _miss(self, image: Image) -> None:
        """Fail an image that the destination lacks."""
        self._fail(image, absent(image.destination))

    def _is_same(self, image: Image) -> bool:
        """Whether the destination must have, and has, the source's digest."""
        same = image.found is not None and image.found.digest == image.source_digest
        return same and not image.pruning.active

    def _task(self, image: Image, digest: str) -> FetchManifest:
        if image.pruning.active or (digest == image.source_digest and not self._is_same(image)):
            return super()._task(image, digest)
        return FetchManifest(repository=image.destination.repository, digest=digest, side="destination")

    def _is_complete_there(self, image: Image) -> bool:  # noqa: ARG002 - of Images
        return False

    def _bring(self, image: Image, *, equal: bool) -> None:
        """Request everything in the plan, if the destination's top manifest is the plan's."""
        assert image.plan is not None
        if image.found is None and not image.may_be_listed:
            self._miss(image)
            return
        here = image.destination.repository
        *below, top = image.plan.manifests
        if image.found is not None and not equal:
            expected = image.source_digest if image.is_shared else top.digest
            fault = different(
                image.destination, found=image.found.digest, expected=expected, is_shared=image.is_shared
            )
            self._fail(image, fault)
            return
        needed = [(each, Reference(here, each.digest)) for each in below]
        self._need(image, [*needed, (top, image.destination)], equal=True)

    def _fetch_failed(self, image: Image, task: FetchManifest, fault: Fault) -> None:
        """What the destination lacks is missing; any other failure leaves the image in doubt."""
        missing = task.side == "destination" and fault.status == HTTPStatus.NOT_FOUND
        self._fail(image, replace(fault, hint=FORCE_HINT) if missing else fault)

    def _presence(self, image: Image, manifest: Manifest, reference: Reference, *, equal: bool) -> Presence:
        if self._state.holds(reference.repository, manifest.digest):
            return "complete"
        if not image.pruning.active:
            return "exists"
        is_top = reference == image.destination
        # An index that another tool serialised has been read already, to be compared.
        told = is_top and (not self._deep or image.digest_there != manifest.digest)
        return "exists" if told and equal else "missing"
