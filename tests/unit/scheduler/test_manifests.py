"""The ledger of manifests by itself: its notices when needed content fails or arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import Fault
from pipeline.model.messages import ManifestPushed
from pipeline.model.reference import Reference, Repository
from pipeline.scheduler.manifests import Manifests
from pipeline.scheduler.notices import BlobArrived, BlobFailed, ChildStored, ImageFailed
from pipeline.scheduler.shared_state import SharedState
from pipeline.settings import Limits
from tests.unit.scheduler.memory import MemoryFacts
from tests.unit.scheduler.world import MIRROR, SOURCE, digest, image, index, manifest

if TYPE_CHECKING:
    from pipeline.scheduler.manifest_need import ManifestNeed

FAULT = Fault(operation="work", words="no")
CHILD = image("base")
PARENT = index((CHILD, "amd64"))


def ledger() -> tuple[SharedState, Manifests]:
    """An empty ledger, and the shared state."""
    state = SharedState(run="run", facts=MemoryFacts(), limits=Limits())
    return state, Manifests(state)


def need(manifests: Manifests, content: bytes, image_key: str) -> ManifestNeed:
    """Let an image need a manifest that the destination lacks."""
    place = Repository(MIRROR, "a")
    return manifests.need(
        image_key,
        manifest(content),
        source=Repository(SOURCE, "a"),
        destination=Reference(place, digest(content)),
        presence="missing",
    )


def test_failed_child_fails_every_waiting_parent() -> None:
    """A child that fails also fails the manifest that waits for it, even if another image needs the child."""
    state, manifests = ledger()
    child = need(manifests, CHILD, "one")
    parent = need(manifests, PARENT, "two")

    manifests.blob_failed(BlobFailed(child.key, FAULT))

    assert list(state.notices) == [
        ImageFailed("one", FAULT, child.key),
        ImageFailed("two", FAULT, parent.key),
    ]
    assert manifests.held == manifests.blobs.held == 0


def test_parent_waits_for_child() -> None:
    """A manifest waits until its child is in place, and is pushed then."""
    state, manifests = ledger()
    child, parent = need(manifests, CHILD, "one"), need(manifests, PARENT, "one")
    for blob in child.manifest.blobs:
        manifests.blob_arrived(BlobArrived(child.key, blob.digest))
    states = [child.state, parent.state]

    manifests.stored(child.push(), ManifestPushed(key=child.push().key))
    told = [notice for notice in state.notices if isinstance(notice, ChildStored)]
    manifests.child_stored(told[0])

    assert (states, told) == (["pushing", "gathering"], [ChildStored(parent.key, child.key)])
    assert [child.state, parent.state] == ["complete", "pushing"]
