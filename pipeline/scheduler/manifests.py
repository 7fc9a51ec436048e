"""A manifest waits for its blobs and child manifests, a tag for everything.

One entry per destination reference: child manifests are shared by all images that need them, and put once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from pipeline.errors import Fault
from pipeline.model.facts import HoldingForgotten
from pipeline.model.messages import HeadManifests, PushManifest, TaskFailed
from pipeline.model.reference import Reference
from pipeline.scheduler.blobs import Blobs
from pipeline.scheduler.notices import ChildrenUnread, ChildStored, ImageFailed, ManifestStored

if TYPE_CHECKING:
    from pipeline.model.manifest import Manifest
    from pipeline.model.messages import ManifestsHeaded, ReferencesMissing
    from pipeline.model.reference import Repository
    from pipeline.scheduler.notices import BlobArrived, BlobFailed
    from pipeline.scheduler.shared_state import SharedState

Presence = Literal["there", "told", "ask", "absent"]
"""What is believed of a manifest at its destination: there, with all that it names; there, as the registry
has just told; to be asked for; to be put without asking."""

MAX_HEALS = 2


@dataclass(slots=True)
class ManifestNeed:
    """One manifest at one destination reference."""

    destination: Reference
    manifest: Manifest
    sources: list[Repository]
    """Where its blobs can be read, first choice first."""
    presence: Presence
    images: set[str] = field(default_factory=set)
    """Keys of the open images that need it."""
    lacks_blobs: set[str] = field(default_factory=set)
    """Digests that are not in the repository yet."""
    lacks_children: set[str] = field(default_factory=set)
    """Keys of child entries that are not there yet."""
    parents: set[str] = field(default_factory=set)
    """Keys of the entries that wait for this one."""
    asking: bool = False
    """Whether a Look for it is ready or running."""
    stored: bool = False
    was_put: bool = False
    """Whether this run has put it, rather than found it."""
    heals: int = 0
    task: PushManifest | None = None

    @property
    def key(self) -> str:
        """The destination reference as text."""
        return str(self.destination)


class Manifests:
    """The ledger of manifests; what is in place or failed is told to images."""

    def __init__(self, state: SharedState) -> None:
        """Nothing is needed."""
        self._state = state
        self._entries: dict[str, ManifestNeed] = {}
        self.blobs = Blobs(state)

    def need(
        self,
        image: str,
        manifest: Manifest,
        *,
        source: Repository,
        destination: Reference,
        presence: Presence,
    ) -> ManifestNeed:
        """Say that an image needs a manifest at a reference; its children have been needed before it."""
        key = str(destination)
        entry = self._entries.get(key)
        if entry is None or entry.manifest.digest != manifest.digest:
            entry = ManifestNeed(destination, manifest, [source], presence)
            self._entries[key] = entry
            entry.images.add(image)
            self._begin(entry)
        else:
            entry.images.add(image)
            if source not in entry.sources:
                entry.sources.append(source)
                self._want(entry, entry.lacks_blobs, doubted=False)
        return entry

    def leave(self, image: str, key: str) -> None:
        """The image does not need the entry any more; what nobody needs is given up, but a running put."""
        entry = self._entries.get(key)
        if entry is None:
            return
        entry.images.discard(image)
        if entry.images:
            return
        if entry.task and self._state.queue.running(entry.task.key):
            return
        self._drop(entry)

    def _drop(self, entry: ManifestNeed) -> None:
        if entry.task:
            self._state.queue.drop(entry.task.key)
        if entry.asking:
            self._state.queue.drop(self._look(entry).key)
        for digest in entry.lacks_blobs:
            self.blobs.unwant(entry.key, destination=entry.destination.repository, digest=digest)
        for child in entry.manifest.children:
            below = self._entries.get(str(Reference(entry.destination.repository, child.digest)))
            if below:
                below.parents.discard(entry.key)
        del self._entries[entry.key]

    def _begin(self, entry: ManifestNeed) -> None:
        match entry.presence:
            case "there":
                entry.stored = True
            case "ask":
                entry.asking = True
                self._state.ready(self._look(entry))
            case "told" | "absent":
                self._gather(entry, doubted=self._state.aim == "verify")

    def _look(self, entry: ManifestNeed) -> HeadManifests:
        return HeadManifests(source=None, destinations=(entry.destination,))

    def _gather(self, entry: ManifestNeed, *, doubted: bool = False) -> None:
        """Have everything brought that the entry lacks, and put it when nothing is lacking."""
        repository = entry.destination.repository
        same = repository in entry.sources and not doubted
        entry.lacks_blobs = set() if same else {blob.digest for blob in entry.manifest.blobs}
        for child in entry.manifest.children:
            below = self._entries.get(str(Reference(repository, child.digest)))
            if below is not None:
                below.parents.add(entry.key)
                if not below.stored:
                    entry.lacks_children.add(below.key)
        self._want(entry, entry.lacks_blobs, doubted=doubted)
        self._put_when_complete(entry)

    def _want(self, entry: ManifestNeed, digests: set[str], *, doubted: bool) -> None:
        """Have blobs brought from any of the entry's sources."""
        place = entry.destination.repository
        for blob in [each for each in entry.manifest.blobs if each.digest in digests]:
            if self.blobs.want(entry.key, blob, sources=entry.sources, destination=place, doubted=doubted):
                entry.lacks_blobs.discard(blob.digest)

    def _put_when_complete(self, entry: ManifestNeed) -> None:
        if entry.lacks_blobs or entry.lacks_children or entry.task or entry.stored or entry.asking:
            return
        if entry.presence == "told":
            self._there(entry)
            return
        entry.task = PushManifest(
            destination=entry.destination,
            media_type=entry.manifest.media_type,
            digest=entry.manifest.digest,
            content=entry.manifest.content,
        )
        if not self._state.ready(entry.task):
            entry.task = None

    def prepare(self, task: PushManifest) -> PushManifest:
        """The put as it is given out: to be read back, if it is the first."""
        return replace(task, check=True) if self._state.read_back.due(task) else task

    def returned(self, task: PushManifest) -> bool:
        """A put came back undone; False: nobody needs it any more, or the run is stopping."""
        entry = self._of(task)
        if entry is None:
            return False
        if not entry.images:
            entry.task = None
            self._drop(entry)
            return False
        if not self._state.ready(task):
            entry.task = None
        return entry.task is not None

    def finish(self, keys: set[str]) -> None:
        """While stopping: put what of an image can be put now."""
        for entry in [self._entries[key] for key in keys if key in self._entries]:
            if entry.task and not self._state.queue.knows(entry.task.key):
                entry.task = None
            self._put_when_complete(entry)

    def looked(self, task: HeadManifests, outcome: ManifestsHeaded | TaskFailed) -> None:
        """The destination has answered whether it has a manifest that was asked for by digest."""
        found = outcome.fault if isinstance(outcome, TaskFailed) else outcome.destinations[0]
        entry = self._entries.get(str(task.destinations[0]))
        if entry is None or not entry.asking:
            return
        entry.asking = False
        if isinstance(found, Fault):
            self._fail(entry, found)
        elif found is not None and found.digest == entry.manifest.digest:
            if entry.manifest.lists_blobs:
                entry.presence = "told"
                self._gather(entry)
            else:
                self._there(entry, confirmed=not entry.manifest.children)
        else:
            self._gather(entry, doubted=entry.heals > 0)

    def stored(self, task: PushManifest) -> None:
        """A put ended well."""
        entry = self._of(task)
        if entry is None:
            self._state.confirm(task.destination.repository, task.digest, is_blob=False)
            return
        entry.task, entry.was_put = None, self._state.aim != "verify"
        self._there(entry)

    def _there(self, entry: ManifestNeed, *, confirmed: bool = True) -> None:
        """The entry is in place; an index that was only asked for is no fact: its children are asked for."""
        entry.stored = True
        if confirmed:
            self._state.confirm(entry.destination.repository, entry.manifest.digest, is_blob=False)
        self._state.notices.extend(ChildStored(parent, entry.key) for parent in entry.parents)
        self._state.notices.extend(ManifestStored(image, entry) for image in entry.images)
        if not entry.images:
            self._drop(entry)

    def lacking(self, task: PushManifest, outcome: ReferencesMissing) -> None:
        """The registry does not know what the manifest names: forget, ask for each, send what is missing."""
        entry = self._of(task)
        if entry is None:
            return
        entry.task = None
        if entry.heals >= MAX_HEALS or not entry.images:
            self._fail(entry, outcome.fault)
            return
        entry.heals += 1
        if self._names_unread(entry):
            self._state.notices.append(ChildrenUnread(tuple(entry.images), outcome.fault))
        else:
            self._doubt(entry)

    def _names_unread(self, entry: ManifestNeed) -> bool:
        """Whether an image needs it that took its children to be there, and has read none of them."""
        place = entry.destination.repository
        below = [self._entries.get(str(Reference(place, child.digest))) for child in entry.manifest.children]
        return not all(child is not None and entry.images <= child.images for child in below)

    def _doubt(self, entry: ManifestNeed) -> None:
        repository = entry.destination.repository
        for blob in entry.manifest.blobs:
            self._state.facts.write(HoldingForgotten(repository=repository, digest=blob.digest))
        for child in entry.manifest.children:
            below = self._entries.get(str(Reference(repository, child.digest)))
            if below is not None and below.stored:
                self._state.facts.write(HoldingForgotten(repository=repository, digest=child.digest))
                below.stored, below.asking = False, True
                below.heals += 1
                self._state.ready(self._look(below))
        self._gather(entry, doubted=True)

    def put_failed(self, task: PushManifest, outcome: TaskFailed) -> None:
        """A put failed."""
        entry = self._of(task)
        if entry is not None:
            entry.task = None
            self._fail(entry, outcome.fault)

    def blob_arrived(self, notice: BlobArrived) -> None:
        """A blob that an entry lacked is in place."""
        entry = self._entries.get(notice.need)
        if entry is not None:
            entry.lacks_blobs.discard(notice.digest)
            self._put_when_complete(entry)

    def child_stored(self, notice: ChildStored) -> None:
        """A child that an entry lacked is in place."""
        entry = self._entries.get(notice.need)
        if entry is not None:
            entry.lacks_children.discard(notice.child)
            self._put_when_complete(entry)

    def blob_failed(self, notice: BlobFailed) -> None:
        """A blob that an entry lacks cannot be brought."""
        entry = self._entries.get(notice.need)
        if entry is not None:
            self._fail(entry, notice.fault)

    def _fail(self, entry: ManifestNeed, fault: Fault) -> None:
        """Give the entry up, for every image that needs it and every manifest that waits for it."""
        self._state.notices.extend(ImageFailed(image, fault) for image in entry.images)
        waiting = [self._entries[key] for key in entry.parents if key in self._entries]
        self._drop(entry)
        for parent in waiting:
            if entry.key in parent.lacks_children and parent.key in self._entries:
                self._fail(parent, fault)

    def _of(self, task: PushManifest) -> ManifestNeed | None:
        entry = self._entries.get(str(task.destination))
        return entry if entry is not None and entry.task == task else None

    def lacks_no_blob(self, keys: set[str]) -> bool:
        """Whether all blobs of these entries are in place: while stopping, only such images are finished."""
        return all(not self._entries[key].lacks_blobs for key in keys if key in self._entries)

    def images_of(self, task: PushManifest) -> set[str]:
        """Keys of the open images that a put is for."""
        entry = self._of(task)
        return entry.images if entry else set()

    def first_image(self, key: str) -> str:
        """An open image that needs the entry; empty: none."""
        entry = self._entries.get(key)
        return next(iter(entry.images), "") if entry else ""

    @property
    def held(self) -> int:
        """Entries in the ledger, for tests of what memory depends on."""
        return len(self._entries)

    def validate(self) -> None:
        """Check that what is waited for is brought, and that nothing is put before what it names.

        Raises:
            AssertionError: one of it does not hold.
        """
        self.blobs.validate()
        for entry in self._entries.values():
            assert entry.lacks_children <= self._entries.keys(), f"{entry.key} waits for a lost child"
            if entry.task is not None and self._state.queue.running(entry.task.key):
                assert not entry.lacks_blobs, f"{entry.key} is put before its blobs"
                assert not entry.lacks_children, f"{entry.key} is put before its children"
