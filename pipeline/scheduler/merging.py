"""Merging: an image replaces another manifest at its destination, or adds its entries to it.

Images that write one shared tag (companions.py) take turns.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.errors import Fault, ManifestError
from pipeline.model.companions import join
from pipeline.model.faults import not_joined
from pipeline.model.manifest import same_json

if TYPE_CHECKING:
    from pipeline.model.manifest import Manifest
    from pipeline.model.tree import Plan
    from pipeline.scheduler.image import Image
    from pipeline.scheduler.image_results import ImageResults
    from pipeline.scheduler.shared_state import SharedState


class TagMerging:
    """The turns of open images at shared tags, and the merging of both sides."""

    def __init__(self, state: SharedState, results: ImageResults) -> None:
        """Start without images."""
        self._state = state
        self._results = results
        self._last: dict[str, str] = {}
        """By destination: key of the open image that entered last."""

    def enter(self, image: Image) -> None:
        """An image is opened: it has the turn if no other one has."""
        if image.is_shared:
            self._last.setdefault(str(image.destination), image.key)

    def ahead(self, image: Image, rival: str) -> str:
        """Key of the image that goes ahead of one whose destination `rival` has claimed."""
        if not image.is_shared:
            return rival
        before = self._last.get(str(image.destination), rival)
        self._last[str(image.destination)] = image.key
        return before

    def leave(self, image: Image) -> None:
        """An image is finished."""
        if self._last.get(str(image.destination)) == image.key:
            del self._last[str(image.destination)]

    def compare(self, image: Image, there: Manifest) -> bool | Fault:
        """Whether the destination's manifest counts as equal; its entries join the plan of a shared tag."""
        assert image.plan is not None
        if image.is_shared:
            return self._join(image, image.plan, there)
        same = same_json(image.plan.manifests[-1].content, there.content)
        if same:
            image.how = "the same index, serialised by another tool"
        return same

    def _join(self, image: Image, plan: Plan, there: Manifest) -> bool | Fault:
        """Plan to store both sides' entries; returns whether all exist already, or why it is impossible.

        Blobs that only the destination has are in place, since it accepted the manifest that names them.
        """
        *below, own = plan.manifests
        try:
            joined = join(own, there, image.destination.name)
        except ManifestError as error:
            return not_joined(image.destination, str(error))
        if joined is None:
            claim = self._state.facts.claim(str(image.destination))
            if claim is not None and claim.source != str(image.source):
                image.rival = f"{claim.source} -> {image.destination}"
                return self._results.conflict(image)
            joined = own
        if image.required not in ("", joined.digest):
            return not_joined(image.destination, f"the rule requires {image.required}")
        if joined is there:
            image.how = "it holds all entries of the source's"
        elif joined is not own and self._state.aim != "verify":
            for blob in there.blobs:
                self._state.confirm(image.destination.repository, blob.digest, is_blob=True)
        image.plan = replace(plan, manifests=(*below, joined))
        return joined is there
