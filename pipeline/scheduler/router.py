"""The router sends each task, outcome and notice to the part of the scheduler that it concerns.

Everything that depends on the kind of a task is here, so a new kind needs one case in each method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from pipeline.model.faults import wrong_answer
from pipeline.model.listing_tasks import ListDigests, ListRepositories, ListTags
from pipeline.model.messages import (
    BlobCopied,
    CopyBlob,
    DigestsListed,
    FetchManifest,
    HeadManifests,
    ManifestFetched,
    ManifestPushed,
    ManifestsHeaded,
    PushManifest,
    ReferencesMissing,
    ReferrersListed,
    RepositoriesListed,
    TagsListed,
    TaskFailed,
)
from pipeline.model.referrers import ListReferrers
from pipeline.scheduler.companions import image_of
from pipeline.scheduler.notices import BlobArrived, BlobFailed, ChildrenUnread, ChildStored, TaskDoomed

if TYPE_CHECKING:
    from pipeline.model.messages import Outcome, Task, UploadCheckpoint
    from pipeline.scheduler.admission import Admission
    from pipeline.scheduler.case_variants import CaseVariants
    from pipeline.scheduler.images import Images
    from pipeline.scheduler.notices import Notice
    from pipeline.scheduler.shared_state import SharedState


class Router:
    """Calls the part that an outcome or a notice concerns."""

    def __init__(
        self, state: SharedState, images: Images, admission: Admission, case_variants: CaseVariants
    ) -> None:
        """See the class."""
        self._state = state
        self._images = images
        self._lookups, self._fetches = images.lookups, images.fetches
        self._manifests, self._blobs = images.manifests, images.manifests.blobs
        self._lists = images.companions.lists
        self._admission = admission
        self._case_variants = case_variants

    def may_finish(self, task: Task) -> bool:
        """Whether a task may start while the run is stopping: a push that an image needs to finish."""
        return isinstance(task, PushManifest) and self._images.may_push(task)

    def prepare(self, task: Task) -> Task:
        """The task with what is known only when it is given out."""
        match task:
            case CopyBlob():
                return self._blobs.prepare(task)
            case PushManifest():
                return self._manifests.prepare(task)
            case FetchManifest():
                return self._fetches.prepare(task)
            case _:
                return task

    def decide(self, task: Task, outcome: Outcome) -> None:
        """Process an outcome; one that does not fit its task is a failure of the worker."""
        match task, outcome:
            case _, TaskFailed():
                self._fail(task, outcome)
            case ListTags(), TagsListed():
                self._listed(task, outcome)
            case ListDigests(), DigestsListed():
                self._admission.tag_lists.listing(task, outcome)
                self._admission.listed.listed(task, outcome)
            case ListRepositories(), RepositoriesListed():
                self._admission.repositories(task, outcome)
            case HeadManifests(), ManifestsHeaded():
                self._headed(task, outcome)
            case FetchManifest(), ManifestFetched():
                self._fetches.got(task, outcome.manifest)
            case ListReferrers(), ReferrersListed():
                self._lists.got(task, outcome)
            case CopyBlob(), BlobCopied():
                self._images.count(self._payer(task), outcome.how)
                self._blobs.copied(task, outcome)
            case PushManifest(), ManifestPushed():
                self._manifests.stored(task, outcome)
            case PushManifest(), ReferencesMissing():
                self._manifests.lacking(task, outcome)
            case _:
                fault = wrong_answer(task.key, type(outcome).__name__)
                self._fail(task, TaskFailed(key=task.key, fault=fault))

    def _listed(self, task: ListTags, outcome: TagsListed) -> None:
        if task.is_probe:
            self._blobs.exists(task.repository, is_new=outcome.missing)
        elif task.side == "destination":
            self._admission.kept.listed(task, outcome)
        else:
            self._admission.tag_lists.page(task, outcome)
            self._lists.page(task, outcome)

    def _fail(self, task: Task, outcome: TaskFailed) -> None:
        match task:
            case ListTags(is_probe=True):
                self._blobs.exists(task.repository)
            case ListTags(side="destination"):
                self._admission.kept.failed(task)
            case ListTags():
                self._admission.tag_lists.failed(task, outcome.fault)
                self._lists.page_failed(task)
            case ListDigests():
                self._admission.listed.failed(task, outcome.fault)
                self._admission.tag_lists.listing(task, outcome)
            case ListRepositories():
                self._admission.repositories(task, outcome)
            case HeadManifests():
                self._headed(task, outcome)
            case FetchManifest():
                self._fetches.failed(task, outcome.fault)
            case ListReferrers():
                self._lists.failed(task, outcome.fault)
            case CopyBlob():
                self._blobs.failed(task, outcome)
            case PushManifest():
                self._manifests.push_failed(task, outcome)
            case _:
                assert_never(task)

    def _headed(self, task: HeadManifests, outcome: ManifestsHeaded | TaskFailed) -> None:
        if task.source is not None:
            self._lookups.looked(task, outcome)
        elif self._case_variants.awaits(task):
            self._case_variants.looked(task, outcome)
        else:
            self._manifests.looked(task, outcome)

    def deliver(self, notice: Notice) -> None:
        """Deliver a notice to the part that it concerns."""
        match notice:
            case BlobArrived():
                self._manifests.blob_arrived(notice)
            case BlobFailed():
                self._manifests.blob_failed(notice)
            case ChildStored():
                self._manifests.child_stored(notice)
            case ChildrenUnread():
                self._images.read_again(notice)
            case TaskDoomed(task, fault):
                self.decide(task, TaskFailed(key=task.key, fault=fault))
            case _:
                self._images.learn(notice)

    def postpone(self, task: Task, registry: str) -> None:
        """A task came back because a registry pauses: whatever does not need that registry continues."""
        if isinstance(task, HeadManifests) and task.source and registry != task.source.repository.registry:
            self._lookups.part(task, registry)
        else:
            self.returned(task)

    def doubt(self, task: Task) -> Task:
        """The task to repeat when its worker may have continued unseen and finished it."""
        return self._blobs.ask_first(task) if isinstance(task, CopyBlob) else task

    def keep(self, task: Task, session: UploadCheckpoint | None) -> None:
        """Note the progress of a running task's upload."""
        if isinstance(task, CopyBlob):
            self._blobs.keep(task, session)

    def returned(self, task: Task) -> None:
        """A task came back without an outcome: it is queued again if anything still needs it."""
        match task:
            case HeadManifests(source=None) | ListTags() | ListDigests() | ListRepositories():
                again = self._state.ready(task)
            case HeadManifests():
                again = self._lookups.returned(task)
            case FetchManifest():
                again = self._fetches.returned(task)
            case ListReferrers():
                again = self._lists.returned(task)
            case PushManifest():
                again = self._manifests.returned(task)
            case CopyBlob():
                again = self._blobs.returned(task)
            case _:
                assert_never(task)
        if not again:
            self._state.marks.pop(task.key, None)

    @property
    def unsent(self) -> int:
        """Bytes of blobs that are still to be sent, at most."""
        return self._blobs.unsent

    def payer(self, task: Task) -> str:
        """Key of the image that pays for a task, by the rule in need.py; empty: none."""
        return image_of(self._payer(task))

    def _payer(self, task: Task) -> str:
        """Key of the image, or of the companions, that pay for a task."""
        match task:
            case HeadManifests(source=None):
                return self._manifests.payer(str(task.destinations[0]))
            case HeadManifests():
                return self._lookups.payer(task)
            case FetchManifest():
                return self._fetches.payer(task)
            case ListReferrers():
                return self._lists.payer(task)
            case PushManifest():
                return self._manifests.payer(task.need)
            case CopyBlob():
                return self._manifests.payer(self._blobs.payer(task))
            case ListTags() | ListDigests() | ListRepositories():
                return ""
