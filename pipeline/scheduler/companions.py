"""Companions: the companions of an image's manifests are stored before its tag.

For each manifest of an image the source's lists are read (referrer_lists.py). Each artifact is needed at
the destination like an image by digest, as are its own referrers. If the destination does not register an
artifact by itself, the fallback tag of its subject gets an entry, after all artifacts.
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.errors import ManifestError
from pipeline.model.companions import (
    artifact_types,
    fallback_tag,
    referrer_entry,
    referrer_index,
)
from pipeline.model.faults import not_joined, unreadable
from pipeline.model.messages import FetchManifest
from pipeline.model.pruning import Pruning
from pipeline.model.reference import Reference
from pipeline.model.referrers import MAX_REFERRERS_DEPTH, Referrer, Referrers
from pipeline.model.tree import Skip, prune, unread
from pipeline.scheduler.notices import (
    CompanionsEnded,
    Fetched,
    FetchFailed,
    ImageFailed,
    ManifestStored,
    ReferrersFound,
)
from pipeline.scheduler.referrer_lists import ReferrerLists

if TYPE_CHECKING:
    from pipeline.errors import Fault
    from pipeline.model.manifest import Manifest
    from pipeline.model.reference import Repository
    from pipeline.scheduler.fetches import Fetches
    from pipeline.scheduler.image import Image
    from pipeline.scheduler.image_results import ImageResults
    from pipeline.scheduler.manifest_need import Presence
    from pipeline.scheduler.manifests import Manifests
    from pipeline.scheduler.notices import ImageNotice
    from pipeline.scheduler.shared_state import SharedState

    _SubjectKey = tuple[Repository, Repository, str, tuple[str, ...], bool]
    """Source, destination, digest of the subject; which types, and whether tags were considered."""

_PREFIX = "companions of "
_REFUSED = frozenset({400, 405, 415})
"""Statuses of registries that refuse a manifest with a subject; ECR 405."""
_REMEMBERED = 10_000
"""Remembered manifests whose companions are in place, since tags often share a digest."""
_ALL = Pruning()


def companions_of(image: str) -> str:
    """The key of an image's companions, in the ledgers of lists, fetches and manifests."""
    return f"{_PREFIX}{image}"


def image_of(key: str) -> str:
    """The image that has companions with that key; another key stays as it is."""
    return key.removeprefix(_PREFIX)


@dataclass(slots=True)
class Artifact:
    """One companion."""

    digest: str
    subject: str
    """Digest of the manifest that it belongs to."""
    listed: Referrer | None = None
    """Its entry in the source's list; None: it is one of cosign's tags."""
    tag: str = ""
    need: str = ""
    """Key of its manifest at the destination; empty: it is still being read."""


@dataclass(slots=True)
class CompanionSet:
    """The companions of one open image."""

    image: Image
    wanted: Referrers
    key: str
    depths: dict[str, int] = field(default_factory=dict)
    """By digest of each subject so far: its depth; 0: the image's own manifests."""
    listing: set[str] = field(default_factory=set)
    """Digests whose lists are requested."""
    reading: dict[str, Artifact] = field(default_factory=dict)
    """By digest (with cosign's tag): artifacts that are being read."""
    tree: dict[str, Manifest] = field(default_factory=dict)
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    """By key of the need."""
    needs: set[str] = field(default_factory=set)
    waits: set[str] = field(default_factory=set)
    """Keys of needs that are not in place yet."""
    entries: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """By subject: the entries for its fallback tag, by digest."""
    registering: bool = False
    """Whether the fallback tags are being written."""
    lost: int = 0
    """Companions that cannot be copied."""
    fault: Fault | None = None
    """The fault of the first one."""
    ended: bool = False


class Companions:
    """The ledger of companions; images get a notice at their end."""

    def __init__(
        self, state: SharedState, results: ImageResults, fetches: Fetches, manifests: Manifests
    ) -> None:
        """Begin without companions."""
        self._state = state
        self._results = results
        self._fetches = fetches
        self._manifests = manifests
        self._sets: dict[str, CompanionSet] = {}
        self._in_place: dict[_SubjectKey, None] = {}
        """Manifests whose companions this run has stored."""
        self.lists = ReferrerLists(state)

    def want(self, image: Image, *, equal: bool) -> str:
        """Request the companions of a planned image; returns the key that its tag waits for, or nothing.

        Args:
            image: an image with a plan.
            equal: whether its destination has it already.
        """
        key, wanted = companions_of(image.key), image.options.referrers
        known = self._sets.get(key)
        if known is not None:
            return "" if known.ended else key
        looked_at = image.seeks_companions or not equal or self._state.aim == "verify"
        same = image.source.repository == image.destination.repository
        if wanted.when == "no" or not looked_at or image.is_shared or same:
            return ""
        assert image.plan is not None
        mine = [each.digest for each in image.plan.manifests if each.digest in image.tree]
        digests = [each for each in mine if self._place(image, each) not in self._in_place]
        if not digests:
            image.companions_owed = 0
            return ""
        companions = self._sets[key] = CompanionSet(image, wanted, key)
        for digest in digests:
            self._list(companions, digest, 0)
        return key

    def _place(self, image: Image, digest: str) -> _SubjectKey:
        wanted = image.options.referrers
        return image.source.repository, image.destination.repository, digest, wanted.types, image.with_tags

    def _list(self, companions: CompanionSet, digest: str, depth: int) -> None:
        """Request the list of a manifest's companions."""
        companions.depths[digest] = depth
        if depth < MAX_REFERRERS_DEPTH:
            companions.listing.add(digest)
            source, with_tags = companions.image.source.repository, companions.image.with_tags
            self.lists.want(companions.key, source, digest, with_tags=with_tags)

    def learn(self, notice: ImageNotice) -> None:
        """Process a notice about the companions of one image."""
        companions = self._sets.get(notice.image)
        if companions is None or companions.ended:
            return
        match notice:
            case ReferrersFound():
                self._found(companions, notice)
            case Fetched():
                companions.tree[notice.manifest.digest] = notice.manifest
            case FetchFailed():
                self._unread(companions, notice.task.digest, notice.fault)
            case ManifestStored():
                self._stored(companions, notice)
            case ImageFailed():
                self._lose(companions, notice.fault, companions.artifacts.get(notice.need))
                companions.waits.discard(notice.need)
                companions.needs.discard(notice.need)
            case _:
                return
        self._go_on(companions)

    def _found(self, companions: CompanionSet, notice: ReferrersFound) -> None:
        """A list was read: read the artifacts in it."""
        companions.listing.discard(notice.digest)
        if notice.fault is not None:
            self._lose(companions, notice.fault)
        for listed in notice.referrers:
            kind = listed.artifact_type
            if listed.digest not in companions.depths and (not kind or companions.wanted.wants((kind,))):
                self._list(companions, listed.digest, companions.depths[notice.digest] + 1)
                companions.reading[listed.digest] = Artifact(listed.digest, notice.digest, listed)
        for tag, digest in notice.tags:
            claim = self._state.facts.claim(str(Reference(companions.image.destination.repository, tag)))
            if claim is None or claim.run != self._state.run:  # otherwise a rule copies it as an image
                companions.reading[tag] = Artifact(digest, notice.digest, tag=tag)

    def _go_on(self, companions: CompanionSet) -> None:
        """Continue: store what has been read, and finish when nothing is left."""
        for name, artifact in list(companions.reading.items()):
            if self._is_read(companions, artifact):
                del companions.reading[name]
                self._store(companions, artifact)
        if companions.listing or companions.reading or companions.waits:
            return
        if companions.entries and not companions.registering:
            companions.registering = True
            self._register(companions)
        if not companions.waits:
            self._end(companions)

    def _is_read(self, companions: CompanionSet, artifact: Artifact) -> bool:
        """Whether all manifests of an artifact have been read; requests what is missing."""
        try:
            while missing := unread(artifact.digest, companions.tree, _ALL):
                read = [self._read(companions, digest) for digest in missing]
                if not all(read):
                    return False
        except ManifestError as error:
            source = companions.image.source.repository
            self._lose(companions, unreadable(source, artifact.digest, str(error)))
            artifact.digest = ""
        return True

    def _read(self, companions: CompanionSet, digest: str) -> bool:
        task = FetchManifest(repository=companions.image.source.repository, digest=digest)
        found = self._fetches.want(companions.key, task, at_once=True)
        if found is not None:
            companions.tree[digest] = found
        return found is not None

    def _unread(self, companions: CompanionSet, digest: str, fault: Fault) -> None:
        """A manifest cannot be read: the artifacts that wait for it are lost."""
        for name, artifact in list(companions.reading.items()):
            if digest in unread(artifact.digest, companions.tree, _ALL):
                del companions.reading[name]
                self._lose(companions, fault)

    def _store(self, companions: CompanionSet, artifact: Artifact) -> None:
        """Request an artifact that has been read at the destination, if it is selected."""
        if not artifact.digest:
            return
        top = companions.tree[artifact.digest]
        if not companions.wanted.wants(artifact_types(top, artifact.tag)):
            return
        plan = prune(artifact.digest, companions.tree, _ALL)
        assert not isinstance(plan, Skip)
        here, source = companions.image.destination.repository, companions.image.source.repository
        for each in plan.manifests:
            if artifact.tag and each is top:
                need = self._manifests.add(
                    companions.key, each, source=source, destination=Reference(here, artifact.tag)
                )
            else:
                need = self._manifests.need(
                    companions.key,
                    each,
                    source=source,
                    destination=Reference(here, each.digest),
                    presence=self._presence(companions.image, each.digest),
                    force=companions.image.options.force,
                )
            companions.needs.add(need.key)
            if need.state != "complete":
                companions.waits.add(need.key)
        artifact.need = need.key
        companions.artifacts[need.key] = artifact
        if need.state == "complete":
            self._enter(companions, artifact, registered=need.registered)

    def _presence(self, image: Image, digest: str) -> Presence:
        """The presence of an artifact: it is looked up if an earlier run may have copied it."""
        here = image.destination.repository
        if self._state.holds(here, digest):
            return "complete"
        if image.options.force or self._state.aim == "verify":
            return "missing"
        return "check" if image.found is not None or self._state.facts.held(here, digest) else "missing"

    def _stored(self, companions: CompanionSet, notice: ManifestStored) -> None:
        need = notice.need
        if need.state != "complete" or need.key not in companions.waits:
            return
        companions.waits.discard(need.key)
        artifact = companions.artifacts.get(need.key)
        if artifact is not None:
            if need.pushed and need.payer == companions.key:
                self._results.count_companion(companions.image)
            self._enter(companions, artifact, registered=need.registered)

    def _enter(self, companions: CompanionSet, artifact: Artifact, *, registered: bool) -> None:
        """An artifact is in place; unless the registry lists it, its subject's fallback tag names it."""
        if artifact.listed is not None and not registered:
            entry = artifact.listed.entry or referrer_entry(companions.tree[artifact.digest])
            companions.entries.setdefault(artifact.subject, {})[artifact.digest] = entry

    def _register(self, companions: CompanionSet) -> None:
        """Write the fallback tags, with the artifacts that the registry does not list."""
        here, source = companions.image.destination.repository, companions.image.source.repository
        for subject, entries in companions.entries.items():
            tag = Reference(here, fallback_tag(subject))
            try:
                index = referrer_index(entries.values())
            except ManifestError as error:
                self._lose(companions, not_joined(tag, str(error)))
                continue
            need = self._manifests.add(companions.key, index, source=source, destination=tag)
            companions.needs.add(need.key)
            if need.state != "complete":
                companions.waits.add(need.key)

    def _lose(self, companions: CompanionSet, fault: Fault, artifact: Artifact | None = None) -> None:
        """A companion cannot be copied, or is missing."""
        companions.lost += 1
        if artifact is not None and fault.side == "destination" and fault.status in _REFUSED:
            hint = "it takes no signatures and SBOMs of this kind: write `referrers: no` in the rule"
            fault = replace(fault, code="REFERRERS_REFUSED", hint=fault.hint or hint)
        if companions.fault is None or (fault.retryable and not companions.fault.retryable):
            companions.fault = fault

    def _end(self, companions: CompanionSet) -> None:
        """Every companion is stored or lost; the image fails only if the user asked for companions."""
        companions.ended = True
        fault, image = companions.fault, companions.image
        image.companions_owed = companions.lost
        if fault is None:
            for digest in [each for each, depth in companions.depths.items() if depth == 0]:
                self._in_place[self._place(image, digest)] = None
            while len(self._in_place) > _REMEMBERED:
                del self._in_place[next(iter(self._in_place))]
        elif not self._fails_image(companions, fault):
            self._results.lost_companions(image, fault)
            fault = None
        if fault is not None:
            self._state.notices.append(ImageFailed(image.key, fault))
            return
        self._manifests.release(str(image.destination), companions.key)
        self._state.notices.append(CompanionsEnded(image.key))

    def _fails_image(self, companions: CompanionSet, fault: Fault) -> bool:
        if fault.retryable and self._state.may_retry(companions.image.options):
            return True
        if self._state.aim == "verify":
            return companions.wanted.when == "always"
        return companions.wanted.written

    def leave(self, image: str) -> None:
        """An image is finished."""
        companions = self._sets.pop(companions_of(image), None)
        if companions is None:
            return
        if companions.listing:
            self.lists.leave(companions.key)
        self._fetches.leave(companions.key)
        self._manifests.leave_all(companions.key, companions.needs)

    def validate(self) -> None:
        """Check that each set waits for something.

        Raises:
            AssertionError: one does not.
        """
        self.lists.validate()
        for companions in self._sets.values():
            waits = companions.listing or companions.reading or companions.waits
            assert companions.ended or waits, f"{companions.key} wait for nothing"
