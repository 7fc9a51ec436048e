"""Images: from two digests to a plan, from a plan to a tag.

An image gets the digests of both sides and is finished if nothing changed. Else it reads its manifests, then
waits for the manifests that its destination needs (manifests.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import Fault, ManifestError
from pipeline.model.facts import HoldingForgotten
from pipeline.model.faults import unreadable
from pipeline.model.messages import FetchManifest
from pipeline.model.reference import Reference
from pipeline.model.tree import Plan, Skip, prune, unread
from pipeline.scheduler.companions import Companions, companions_of
from pipeline.scheduler.fetches import Fetches
from pipeline.scheduler.image import LISTED, Image, image_key
from pipeline.scheduler.lookups import Lookups
from pipeline.scheduler.manifests import MAX_HEALS, Manifests
from pipeline.scheduler.merging import TagMerging
from pipeline.scheduler.notices import (
    ChildrenUnread,
    CompanionsEnded,
    Fetched,
    FetchFailed,
    ImageFailed,
    Looked,
    ManifestStored,
    TurnCame,
)
from pipeline.scheduler.previous_results import PreviousResults

if TYPE_CHECKING:
    from pipeline.model.cost import Cost
    from pipeline.model.facts import Result
    from pipeline.model.manifest import Manifest
    from pipeline.model.messages import BlobOrigin, ManifestHead, PushManifest
    from pipeline.scheduler.image_results import ImageResults
    from pipeline.scheduler.manifest_need import ManifestNeed, Presence
    from pipeline.scheduler.notices import ImageNotice
    from pipeline.scheduler.quarantine import Quarantine
    from pipeline.scheduler.shared_state import SharedState
    from pipeline.settings import Settings


class Images:
    """The ledger of open images."""

    def __init__(
        self, state: SharedState, results: ImageResults, settings: Settings, *, quarantine: Quarantine
    ) -> None:
        """Begin without open images."""
        self._quarantine = quarantine
        self._state = state
        self._results = results
        self._previous = PreviousResults(state)
        self._open: dict[str, Image] = {}
        self._followers: dict[str, list[str]] = {}
        self._merging = TagMerging(state, results)
        self.fetches = Fetches(state, most=settings.limits.window_bytes)
        self.lookups = Lookups(state)
        self.manifests = Manifests(state)
        self.companions = Companions(state, results, self.fetches, self.manifests)

    def __len__(self) -> int:
        """Open images."""
        return len(self._open)

    def knows(self, source: Reference, destination: Reference, rule: int) -> bool:
        """Whether the image is open, or finished in this run."""
        key = image_key(str(source), str(destination), self._state.options[rule])
        return key in self._open or self._previous.has_ended(source, destination, rule)

    def open(self, source: Reference, destination: Reference, rule: int, *, required: str = "") -> Image:
        """Open an image; requests follow later. `required`: the digest that it must have; empty: any."""
        image = Image(source, destination, rule, self._state.options[rule], self._state.now)
        image.required = required or (destination.name if destination.is_digest else "")
        image.with_tags = rule not in self._state.all_tags
        image.companions_owed = self._previous.companions_owed(image)
        self._open[image.key] = image
        self._merging.enter(image)
        return image

    def keep(self, source: Reference, destination: Reference, rule: int) -> None:
        """Finish an image whose tag exists and is never moved by its rule, without a request."""
        image = Image(source, destination, rule, self._state.options[rule], self._state.now)
        self._results.end(image, "kept", digest=self._previous.digest(image))

    def follow(self, image: Image, rival: str) -> None:
        """Wait for the result of the image that has claimed the destination."""
        image.state, image.rival = "waiting", rival
        ahead = self._merging.ahead(image, rival)
        if ahead in self._open and ahead != image.key:
            self._followers.setdefault(ahead, []).append(image.key)
        else:
            self._judge(image)

    def _judge(self, image: Image) -> None:
        """The image ahead is finished: join a shared tag, or compare; only other digests are a conflict."""
        rival = self._previous.rival(image)
        if image.is_shared:
            image.state, image.rival = "looking", ""
            self.lookups.look(image.source, {image.key: image.destination})
        elif rival is not None and rival.result in ("copied", "unchanged"):
            image.state = "looking"
            self.lookups.look(image.source, {image.key: None})
        else:
            self._fail(image, self._results.conflict(image, retryable=bool(rival and rival.retryable)))

    def learn(self, notice: ImageNotice) -> None:
        """Process a notice about one image; it is ignored if the image is finished."""
        if (image := self._open.get(notice.image)) is None:
            self.companions.learn(notice)
            return
        match notice:
            case ManifestStored():
                self._stored(image, notice.need)
            case Fetched():
                self._fetched(image, notice.manifest)
            case Looked(listed=True) if not self._previous.is_as_listed(image, notice):
                self.lookups.look(image.source, {image.key: image.asked_for})
            case Looked():
                self._looked(image, notice.source, notice.found)
            case FetchFailed():
                self._fetch_failed(image, notice.task, notice.fault)
            case ImageFailed():
                self._fail(image, notice.fault)
            case CompanionsEnded():
                self._arrived(image, companions_of(image.key))
            case TurnCame():
                self._judge(image)

    def _looked(self, image: Image, source: ManifestHead, there: ManifestHead | Fault | None) -> None:
        """Finish the image if nothing changed; else read it."""
        image.source_digest = source.digest
        if image.required not in ("", source.digest) and not image.pruning.active:
            self._fail(image, image.other_digest(source.digest))
            return
        if image.rival:
            self._compare_with_rival(image)
            return
        if isinstance(there, Fault) and not image.may_replace(there, self._state):
            self._fail(image, there)
            return
        image.found, image.damaged = (None, True) if isinstance(there, Fault) else (there, False)
        if image.destination == image.source:
            self._unchanged(image, "source and destination are the same", source.digest)
            return
        self._quarantine.note(image)
        if image.found is not None and image.options.keeps(image.destination):
            self._keep(image, image.found)
        else:
            self._compare(image, source)

    def _compare_with_rival(self, image: Image) -> None:
        """Compare with what an earlier rule stored: equal content is up to date, other is a conflict."""
        rival = self._previous.rival(image)
        assert rival is not None
        same = (rival.filter, rival.source_digest) == (str(image.pruning), image.source_digest)
        wanted = image.plan.manifests[-1].digest if image.plan else image.source_digest
        if image.plan is None and image.pruning.active and not same:
            self._begin_to_read(image)
        elif same or (
            wanted == rival.destination_digest and self._state.options[rival.rule].index != "sparse"
        ):
            self._unchanged(image, "another rule puts the same digest there", rival.destination_digest)
        else:
            self._fail(image, self._results.conflict(image))

    def _keep(self, image: Image, there: ManifestHead) -> None:
        self._end(image, "kept", digest=there.digest)

    def _is_held(self, image: Image) -> bool:
        """Whether the image was first seen too recently; if so, it is finished."""
        why = self._quarantine.why_held(image)
        if why:
            self._end(image, "held", reason=why, digest=image.digest_there)
        return bool(why)

    def _compare(self, image: Image, source: ManifestHead) -> None:
        """Compare the digests of both sides; read the image unless they show that it is complete."""
        if image.found is not None:
            self.manifests.blobs.exists(image.destination.repository)
            image.vouched = not image.options.force and self._previous.vouches(image, source, image.found)
            if image.vouched and (image.is_shared or not image.seeks_companions):
                self._unchanged(image, "", image.found.digest)
                return
        elif self._previous.lists(image, source):
            self._unchanged(image, LISTED, "")
            return
        if image.vouched or not self._is_held(image):
            self._begin_to_read(image)

    def _begin_to_read(self, image: Image) -> None:
        image.state = "reading"
        self._read(image, (image.source_digest,))
        self._read_on(image)

    def _read(self, image: Image, digests: tuple[str, ...]) -> None:
        for digest in digests:
            manifest = self.fetches.want(image.key, self._task(image, digest))
            if manifest is not None:
                image.tree[digest] = manifest

    def _task(self, image: Image, digest: str) -> FetchManifest:
        """The task that reads a manifest of the image."""
        config = image.options.platforms.active and digest == image.source_digest
        return FetchManifest(repository=image.source.repository, digest=digest, config=config)

    def _fetched(self, image: Image, manifest: Manifest) -> None:
        """Process a manifest that was read for the image."""
        if image.state == "comparing":
            self._compare_manifests(image, manifest)
        else:
            image.tree[manifest.digest] = manifest
            self._read_on(image)

    def _read_on(self, image: Image) -> None:
        """Read the remaining manifests, level by level; plan when all are read."""
        try:
            while not self.fetches.pending(image.key):
                complete = self._is_complete_there(image)
                more = () if complete else unread(image.source_digest, image.tree, image.pruning)
                if not more:
                    self._planned(image)
                    return
                self._read(image, more)
        except ManifestError as error:
            self._fail(image, unreadable(image.source.repository, image.source_digest, str(error)))

    def _compare_manifests(self, image: Image, there: Manifest) -> None:
        equal = self._merging.compare(image, there)
        if isinstance(equal, Fault):
            self._fail(image, equal)
        else:
            self._bring(image, equal=equal and not image.options.force)

    def _is_complete_there(self, image: Image) -> bool:
        """Whether everything below the root is known to be in the destination repository."""
        here = image.destination.repository
        if image.pruning.active or image.doubts:
            return False
        return image.source.repository == here or self._state.holds(here, image.source_digest)

    def _planned(self, image: Image) -> None:
        """Prune the tree, which is completely read, and compare it with the destination's manifest."""
        root = image.tree[image.source_digest]
        if self._is_complete_there(image):
            plan: Plan | Skip = Plan(manifests=(root,), dropped=0, original=root.digest)
        else:
            plan = prune(image.source_digest, image.tree, image.pruning)
        if isinstance(plan, Skip):
            self._end(image, "skipped", reason=plan.reason)
            return
        image.plan = plan
        self._results.planned(image, plan)
        top, there = plan.manifests[-1], image.found
        if image.required not in ("", top.digest):
            self._fail(image, image.other_digest(top.digest))
        elif image.rival:
            self._compare_with_rival(image)
        elif there is None or there.digest == top.digest:
            self._bring(image, equal=there is not None and not image.options.force)
        elif image.is_shared or (
            not image.options.force and self._previous.may_be_foreign(image, top, there)
        ):
            image.state = "comparing"
            here = image.destination.repository
            task = FetchManifest(repository=here, digest=there.digest, side="destination")
            if (read := self.fetches.want(image.key, task)) is not None:
                self._compare_manifests(image, read)
        else:
            self._bring(image, equal=False)

    def _fetch_failed(self, image: Image, _task: FetchManifest, fault: Fault) -> None:
        """Fail the image, unless the unread manifest was only to be compared: then it counts as different."""
        if image.state == "comparing" and not image.is_shared:
            self._bring(image, equal=False)
        else:
            self._fail(image, fault)

    def _bring(self, image: Image, *, equal: bool) -> None:
        """Request every manifest of the plan at the destination; `equal`: the top one is there already."""
        assert image.plan is not None
        here = image.destination.repository
        *below, top = image.plan.manifests
        needed = [(each, Reference(here, each.digest)) for each in below]
        # An equal tag vouches for an image's blobs, but a registry may accept an index without its children.
        if not equal or top.lists_blobs:
            needed.append((top, image.destination))
        image.sent = image.sent or not (equal or image.may_be_listed)
        self._need(image, [] if image.vouched else needed, equal=equal)

    def _need(self, image: Image, needed: list[tuple[Manifest, Reference]], *, equal: bool) -> None:
        companions = self.companions.want(image, equal=equal)
        needs = [
            self.manifests.need(
                image.key,
                manifest,
                source=image.source.repository,
                destination=reference,
                presence=self._presence(image, manifest, reference, equal=equal),
                force=image.options.force,
                sparse=image.plan is not None and image.plan.sparse and reference == image.destination,
                awaits=companions if reference == image.destination else "",
                adds=reference == image.destination and image.may_be_listed,
            )
            for manifest, reference in needed
        ]
        image.state, image.needs = "copying", {need.key for need in needs}
        ends = needs if equal else needs[-1:]
        image.waits = {need.key for need in ends if need.state != "complete"} | {companions} - {""}
        if not image.waits:
            self._complete(image)

    def _presence(self, image: Image, manifest: Manifest, reference: Reference, *, equal: bool) -> Presence:
        return self._previous.presence(image, manifest, reference, equal=equal)

    def read_again(self, notice: ChildrenUnread) -> None:
        """Read the whole tree and copy what is missing: the destination lacks what an index names."""
        images = [self._open[key] for key in notice.images if key in self._open]
        for image in images:
            self.manifests.leave_all(image.key, image.needs)
            image.doubt()
            here, digest = image.destination.repository, image.source_digest
            self._state.facts.write(HoldingForgotten(repository=here, digest=digest))
        for image in images:
            if image.doubts > MAX_HEALS:
                self._fail(image, notice.fault)
            else:
                self._read_on(image)

    def _stored(self, image: Image, need: ManifestNeed) -> None:
        if need.state == "complete" and image.key in need.needed_by:
            image.sent = image.sent or need.pushed
            image.how = LISTED if need.merges and not need.pushed else image.how
            self._arrived(image, need.key)

    def _arrived(self, image: Image, key: str) -> None:
        """Something that the image waited for is stored."""
        image.waits.discard(key)
        if not image.waits and image.state == "copying":
            self._complete(image)

    def _complete(self, image: Image) -> None:
        assert image.plan is not None
        top = "" if image.how == LISTED else image.plan.manifests[-1].digest
        if image.sent or image.blobs.keys() & {"uploaded", "mounted"}:
            self._results.changed(image, image.plan, top)
            self._end(image, "copied", digest=top)
        else:
            self._unchanged(image, image.how, image.digest_there or top)

    def _unchanged(self, image: Image, how: str, digest: str) -> None:
        image.how = how
        self._end(image, "unchanged", digest=digest)

    def _fail(self, image: Image, fault: Fault) -> None:
        """Fail the image in this pass; its other blobs are not requested any more."""
        self._end(image, "failed", fault=fault, digest=image.digest_there)

    def _end(
        self, image: Image, result: Result, *, digest: str = "", reason: str = "", fault: Fault | None = None
    ) -> None:
        """Close the image: drop what only it needed, write its result, notify its followers."""
        del self._open[image.key]
        self._merging.leave(image)
        self.manifests.leave_all(image.key, image.needs)
        self.fetches.leave(image.key)
        self.companions.leave(image.key)
        self._results.end(image, result, digest=digest, reason=reason, fault=fault)
        self._state.notices.extend(map(TurnCame, self._followers.pop(image.key, ())))

    def charge(self, key: str, cost: Cost) -> None:
        """Add the cost of a task to an image."""
        if key in self._open:
            self._open[key].pay(cost)

    def count(self, key: str, how: BlobOrigin) -> None:
        """Count a blob of an image by its origin."""
        if key in self._open:
            self._open[key].blobs[how] += 1

    def finish(self) -> None:
        """While the run is stopping: push the manifests of images that have all their blobs."""
        for image in self._open.values():
            if image.state == "copying" and self.manifests.lacks_no_blob(image.needs):
                self.manifests.finish(image.needs)

    def may_push(self, task: PushManifest) -> bool:
        """While the run is stopping: whether an image with all its blobs needs this push."""
        images = (self._open[key] for key in self.manifests.images_of(task) if key in self._open)
        return any(self.manifests.lacks_no_blob(image.needs) for image in images)

    @property
    def open_images(self) -> list[Image]:
        """All open images, for the window, displays and checks of invariants."""
        return list(self._open.values())
