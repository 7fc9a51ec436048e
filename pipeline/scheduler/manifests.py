"""Manifests: each is pushed after its blobs and child manifests, a tag after everything else.

There is one need for each destination reference: images share child manifests, which are pushed once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.errors import Fault
from pipeline.model.facts import HoldingForgotten
from pipeline.model.faults import sparse_refused
from pipeline.model.messages import HeadManifests, PushManifest, TaskFailed
from pipeline.model.reference import Reference
from pipeline.scheduler.blobs import Blobs
from pipeline.scheduler.manifest_need import ManifestNeed, Presence
from pipeline.scheduler.notices import ChildrenUnread, ChildStored, ImageFailed, ManifestStored
from pipeline.scheduler.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.model.manifest import Manifest
    from pipeline.model.messages import ManifestPushed, ManifestsHeaded, ReferencesMissing
    from pipeline.model.reference import Repository
    from pipeline.scheduler.notices import BlobArrived, BlobFailed
    from pipeline.scheduler.shared_state import SharedState

MAX_HEALS = 2


class Manifests:
    """The ledger of manifests; images get a notice of each one that is stored or failed."""

    def __init__(self, state: SharedState) -> None:
        """Begin without needs."""
        self._state = state
        self._needs: dict[str, ManifestNeed] = {}
        self._turns = Turns()
        self._without_api: set[str] = set()
        """Registries without a referrers API, as far as known."""
        self.blobs = Blobs(state)

    def need(
        self,
        image: str,
        manifest: Manifest,
        *,
        source: Repository,
        destination: Reference,
        presence: Presence,
        force: bool = False,
        sparse: bool = False,
        awaits: str = "",
        adds: bool = False,
    ) -> ManifestNeed:
        """Note that an image needs a manifest at a reference; its children must be noted before.

        `adds`: its entries are added to those of the tag.
        """
        if adds:
            return self.add(image, manifest, source=source, destination=destination)
        need = self._needs.get(str(destination))
        if need is None or need.manifest.digest != manifest.digest:
            need = ManifestNeed(destination, manifest, [source], presence, force=force, sparse=sparse)
            need.awaits.update(filter(None, (awaits,)))
            need.merges = self._turns.were_taken(need.key)
            self._needs[need.key] = need
            need.join(image)
            self._begin(need)
        else:
            need.join(image)
            if source not in need.sources or force > need.force:
                need.sources += [source] * (source not in need.sources)
                need.force = need.force or force
                self._request(need, doubted=False)
        return need

    def add(
        self, image: str, manifest: Manifest, *, source: Repository, destination: Reference
    ) -> ManifestNeed:
        """Note that entries are added to a tag; its writers take turns."""
        turn = f"+{manifest.digest}"
        need = self._needs.get(f"{destination}{turn}")
        if need is None:
            need = ManifestNeed(destination, manifest, [source], "missing", merges=True, turn=turn)
            self._needs[need.key] = need
            need.join(image)
            self._turns.enter(str(destination), need.key)
            own = self._needs.get(str(destination))
            if own is not None:
                own.merges = True
            self._begin(need)
        else:
            need.join(image)
        return need

    def _begin(self, need: ManifestNeed) -> None:
        match need.presence:
            case "complete":
                need.state = "complete"
            case "check":
                self._check(need)
            case "exists" | "missing" | "damaged":
                self._gather(need, doubted=self._state.aim == "verify")

    def leave_all(self, image: str, keys: Iterable[str]) -> None:
        """Note that the image does not need any of these any more."""
        for key in keys:
            self._leave(image, key)

    def _leave(self, image: str, key: str) -> None:
        """The image does not need it any more; if nobody does, it is dropped unless its push runs."""
        need = self._needs.get(key)
        if need is None:
            return
        need.leave(image)
        if need.needed_by or (need.state == "pushing" and self._state.queue.running(need.push().key)):
            return
        self._drop(need)

    def release(self, key: str, companions: str) -> None:
        """The companions that a manifest waits for are stored, or failed."""
        need = self._needs.get(key)
        if need is not None:
            need.awaits.discard(companions)
            self._push_when_ready(need)

    def _has_turn(self, need: ManifestNeed) -> bool:
        """Whether no other need writes its tag."""
        own = self._needs.get(str(need.destination))
        busy = own is not None and own is not need and own.state == "pushing"
        return not busy and self._turns.may_write(str(need.destination), need.key)

    def _end_turn(self, need: ManifestNeed) -> None:
        """Let the next one write the tag."""
        for key in self._turns.leave(str(need.destination), need.key):
            if key in self._needs:
                self._push_when_ready(self._needs[key])

    def _stop_pushing(self, need: ManifestNeed) -> None:
        """Its push has no result yet; a need that has the turn at its tag, and waited for it, goes first."""
        need.state = "gathering"
        first = self._needs.get(self._turns.first(str(need.destination)))
        if first is not None and first is not need:
            self._push_when_ready(first)

    def _drop(self, need: ManifestNeed) -> None:
        if need.state in ("checking", "pushing"):
            self._state.queue.drop((need.check() if need.state == "checking" else need.push()).key)
        for digest in need.lacks_blobs:
            self.blobs.withdraw(need.key, destination=need.destination.repository, digest=digest)
        for child in self._children(need):
            child.parents.discard(need.key)
        del self._needs[need.key]
        self._end_turn(need)

    def _children(self, need: ManifestNeed) -> list[ManifestNeed]:
        """Its children that are needed too."""
        names = (str(Reference(need.destination.repository, each.digest)) for each in need.manifest.children)
        return [self._needs[name] for name in names if name in self._needs]

    def _check(self, need: ManifestNeed) -> None:
        need.state = "checking"
        self._state.ready(need.check())

    def _gather(self, need: ManifestNeed, *, doubted: bool = False) -> None:
        """Request everything that it lacks; push it if it lacks nothing."""
        need.state = "gathering"
        same = need.destination.repository in need.sources and not doubted
        need.lacks_blobs = set() if same else {blob.digest for blob in need.manifest.blobs}
        for child in self._children(need):
            child.parents.add(need.key)
            if child.state != "complete":
                need.lacks_children.add(child.key)
        self._request(need, doubted=doubted)
        self._push_when_ready(need)

    def _request(self, need: ManifestNeed, *, doubted: bool) -> None:
        """Request the blobs that it lacks, from any of its sources."""
        place = need.destination.repository
        for blob in need.manifest.blobs:
            if blob.digest in need.lacks_blobs and self.blobs.request(
                need.key, blob, sources=need.sources, destination=place, doubted=doubted, anew=need.force
            ):
                need.lacks_blobs.discard(blob.digest)

    def _push_when_ready(self, need: ManifestNeed) -> bool:
        """Push it if it lacks nothing, unless it exists; returns whether its push is ready."""
        if need.state != "gathering" or need.lacks_blobs or need.lacks_children or need.awaits:
            return False
        if need.presence == "exists":
            self._complete(need)
            return False
        if not self._has_turn(need) or not self._state.ready(need.push()):
            return False
        need.state = "pushing"
        return True

    def prepare(self, task: PushManifest) -> PushManifest:
        """The task with what is known by now: the registry's first push is read back."""
        if task.merges:
            return replace(task, no_api=task.destination.repository.registry in self._without_api)
        return replace(task, check=True) if self._state.read_back.due(task) else task

    def returned(self, task: PushManifest) -> bool:
        """A push came back without an outcome; False: nobody needs it any more, or the run is stopping."""
        need = self._of(task)
        if need is None:
            return False
        self._stop_pushing(need)
        if need.needed_by:
            return self._push_when_ready(need)
        self._drop(need)
        return False

    def finish(self, keys: set[str]) -> None:
        """While the run is stopping: push what can be pushed of an image."""
        for key in keys & self._needs.keys():
            self._push_when_ready(self._needs[key])

    def looked(self, task: HeadManifests, outcome: ManifestsHeaded | TaskFailed) -> None:
        """The destination answered whether it has a manifest."""
        found = outcome.fault if isinstance(outcome, TaskFailed) else outcome.destinations[0]
        need = self._needs.get(str(task.destinations[0]))
        if need is None or need.state != "checking":
            return
        if isinstance(found, Fault) and found.may_be_damage and self._state.aim != "verify":
            need.presence = "damaged"
            self._gather(need, doubted=True)
        elif isinstance(found, Fault):
            self._fail(need, found)
        elif found is None or found.digest != need.manifest.digest:
            self._gather(need, doubted=need.heals > 0)
        elif need.manifest.lists_blobs:
            need.presence = "exists"
            self._gather(need)
        else:
            self._complete(need, confirmed=not need.manifest.children)

    def stored(self, task: PushManifest, outcome: ManifestPushed) -> None:
        """A manifest was pushed."""
        if outcome.no_api:
            self._without_api.add(task.destination.repository.registry)
        need = self._of(task)
        if need is None:
            if not task.merges:
                self._state.confirm(task.destination.repository, task.digest, is_blob=False)
            return
        need.pushed = outcome.stored and self._state.aim != "verify"
        need.registered = outcome.registered
        self._complete(need)

    def _complete(self, need: ManifestNeed, *, confirmed: bool = True) -> None:
        """It is in place. An index that was only found is not recorded: its children are unchecked."""
        need.state = "complete"
        if confirmed and not (need.sparse or need.merges):
            self._state.confirm(need.destination.repository, need.manifest.digest, is_blob=False)
        self._state.notices.extend(ChildStored(parent, need.key) for parent in need.parents)
        self._state.notices.extend(ManifestStored(image, need) for image in need.needed_by)
        self._end_turn(need)
        if not need.needed_by:
            self._drop(need)

    def lacking(self, task: PushManifest, outcome: ReferencesMissing) -> None:
        """The registry lacks content of the manifest: forget its facts, look it up, send what is missing."""
        need = self._of(task)
        if need is None:
            return
        self._stop_pushing(need)
        if need.heals >= MAX_HEALS or not need.needed_by:
            self._fail(need, sparse_refused(outcome.fault) if need.sparse else outcome.fault)
            return
        need.heals += 1
        if self._names_unread(need) and not need.sparse:
            self._state.notices.append(ChildrenUnread(tuple(need.needed_by), outcome.fault))
        else:
            self._doubt(need)

    def _names_unread(self, need: ManifestNeed) -> bool:
        """Whether an image needs it that assumed its children to be there and did not read them."""
        known = [child for child in self._children(need) if need.needed_by.keys() <= child.needed_by.keys()]
        return len(known) < len(need.manifest.children)

    def _doubt(self, need: ManifestNeed) -> None:
        repository = need.destination.repository
        for blob in need.manifest.blobs:
            self._state.facts.write(HoldingForgotten(repository=repository, digest=blob.digest))
        for child in self._children(need):
            if child.state == "complete":
                digest = child.manifest.digest
                self._state.facts.write(HoldingForgotten(repository=repository, digest=digest))
                child.heals += 1
                self._check(child)
        self._gather(need, doubted=True)

    def push_failed(self, task: PushManifest, outcome: TaskFailed) -> None:
        """A push failed."""
        need = self._of(task)
        if need is not None:
            self._fail(need, outcome.fault)

    def blob_arrived(self, notice: BlobArrived) -> None:
        """A blob that a manifest needs is in place."""
        need = self._needs.get(notice.need)
        if need is not None:
            need.lacks_blobs.discard(notice.digest)
            self._push_when_ready(need)

    def child_stored(self, notice: ChildStored) -> None:
        """A child that a manifest needs is in place."""
        need = self._needs.get(notice.need)
        if need is not None:
            need.lacks_children.discard(notice.child)
            self._push_when_ready(need)

    def blob_failed(self, notice: BlobFailed) -> None:
        """A blob that a manifest needs cannot be copied."""
        need = self._needs.get(notice.need)
        if need is not None:
            self._fail(need, notice.fault)

    def _fail(self, need: ManifestNeed, fault: Fault) -> None:
        """Fail it, with every image that needs it and every manifest that waits for it."""
        self._state.notices.extend(ImageFailed(image, fault, need.key) for image in need.needed_by)
        waiting = [self._needs[key] for key in need.parents if key in self._needs]
        self._drop(need)
        for parent in waiting:
            if need.key in parent.lacks_children and parent.key in self._needs:
                self._fail(parent, fault)

    def _of(self, task: PushManifest) -> ManifestNeed | None:
        need = self._needs.get(task.need)
        waits = need is not None and need.state == "pushing" and need.manifest.digest == task.digest
        return need if waits else None

    def lacks_no_blob(self, keys: set[str]) -> bool:
        """Whether all blobs of these manifests are in place."""
        return all(not self._needs[key].lacks_blobs for key in keys if key in self._needs)

    def images_of(self, task: PushManifest) -> set[str]:
        """Keys of the open images that a push is for."""
        need = self._needs.get(task.need)
        return set(need.needed_by) if need and need.manifest.digest == task.digest else set()

    def payer(self, key: str) -> str:
        """The image that pays for a manifest and its blobs; empty: none."""
        need = self._needs.get(key)
        return need.payer if need else ""

    @property
    def held(self) -> int:
        """Needs in the ledger, for tests of what memory depends on."""
        return len(self._needs)

    def validate(self) -> None:
        """Check that everything that is waited for will arrive, and that needs fit their states.

        Raises:
            AssertionError: one does not.
        """
        self.blobs.validate()
        queue, stopping = self._state.queue, self._state.is_stopping
        for need in self._needs.values():
            assert need.lacks_children <= self._needs.keys(), f"{need.key} waits for a lost child"
            match need.state:
                case "pushing" | "complete":
                    assert not need.lacks_blobs, f"{need.key} is {need.state} before its blobs"
                    assert not need.lacks_children, f"{need.key} is {need.state} before its children"
                    if need.state == "pushing":
                        assert queue.knows(need.push().key), f"{need.key} has lost its push"
                case "checking":
                    assert stopping or queue.knows(need.check().key), f"nobody asks for {need.key}"
                case "gathering":
                    waits = need.lacks_blobs or need.lacks_children or need.awaits
                    assert stopping or waits or not self._has_turn(need), f"{need.key} waits for nothing"
