"""Blobs: each crosses the network once for each registry that mounts, else for each repository.

For each destination registry and digest one repository leads; the others wait and mount the blob from the
leader. The needs that wait for a blob are named by keys (of manifests).
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING, Literal

from pipeline.dataclass import dataclass
from pipeline.log import event_of
from pipeline.model.facts import RepositoryEntered, UnfinishedUpload
from pipeline.model.listing_tasks import ListTags
from pipeline.model.messages import CopyBlob, UploadCheckpoint
from pipeline.model.reference import Repository
from pipeline.scheduler.need import Need
from pipeline.scheduler.notices import BlobArrived, BlobFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.model.manifest import Descriptor
    from pipeline.model.messages import BlobCopied, TaskFailed
    from pipeline.scheduler.shared_state import SharedState


RequestState = Literal["waiting", "entering", "copying"]
"""waiting: for the leader's copy, to mount it; entering: for the answer whether its repository is new;
copying: its task is queued or runs."""


@dataclass(slots=True)
class BlobRequest(Need):
    """One blob that manifests need in one repository; a manifest pays through its own payer."""

    destination: Repository
    blob: Descriptor
    sources: list[Repository]
    """Where it can be read, first choice first."""
    state: RequestState = "waiting"
    held_before: bool = False
    """Whether an earlier run has seen it there: a request must confirm that."""
    doubted: bool = False
    """Whether the registry lacked it although it was expected there: check first, and do not mount."""
    anew: bool = False
    """Whether a forced image needs it: an upload of an earlier run is not resumed."""
    task: CopyBlob | None = None
    """Its task while it is copied."""
    fresh_mount: bool = False
    """Whether it mounts a blob that this run has seen: only then is a refusal the registry's."""


@dataclass(slots=True)
class BlobPlacement:
    """One digest at one destination registry."""

    requests: dict[str, BlobRequest] = field(default_factory=dict)
    """By repository path."""
    leader: str = ""
    """Path of the repository that the others wait for; empty if there is none."""
    there: list[str] = field(default_factory=list)
    """Paths of repositories where this run has seen it."""


class Blobs:
    """The ledger of blobs; manifests get a notice of each blob that arrived or failed."""

    def __init__(self, state: SharedState) -> None:
        """Begin without requests."""
        self._state = state
        self._placements: dict[tuple[str, str], BlobPlacement] = {}
        self._is_new: dict[Repository, bool] = {}
        self._asking: dict[Repository, dict[str, None]] = {}
        """Digests, in order, that wait for the answer whether the repository is new."""
        self._mounts: set[str] = set()
        """Registries where a mounted blob was found."""
        self._unfinished: set[str] = set()
        """Keys of running tasks that have an upload in the records."""
        self._own: set[str] = set()
        """Keys of tasks of forced images whose upload in the records is this run's."""

    def request(
        self,
        key: str,
        blob: Descriptor,
        *,
        sources: Sequence[Repository],
        destination: Repository,
        doubted: bool = False,
        anew: bool = False,
    ) -> bool:
        """Request the blob in the repository for the need `key`; True: it exists, and no notice follows."""
        placement = self._placements.setdefault((destination.registry, blob.digest), BlobPlacement())
        held = self._state.facts.held(destination, blob.digest)
        known = destination.path in placement.there or held == self._state.run
        request = placement.requests.get(destination.path)
        if known and request is None and (self._state.aim == "verify" or not doubted):
            self._forget_if_idle(destination.registry, blob.digest)
            return True
        if request is None:
            request = placement.requests[destination.path] = BlobRequest(
                destination, blob, [], held_before=held != ""
            )
        request.sources.extend(source for source in sources if source not in request.sources)
        request.join(key)
        request.doubted = request.doubted or doubted
        request.anew = request.anew or anew
        if doubted and destination.path in placement.there:
            placement.there.remove(destination.path)
        self._start(placement, request)
        return False

    def withdraw(self, key: str, *, destination: Repository, digest: str) -> None:
        """`key` does not need the blob any more; a queued copy passes to the next repository."""
        placement = self._placements.get((destination.registry, digest))
        request = placement.requests.get(destination.path) if placement else None
        if placement is None or request is None:
            return
        request.leave(key)
        if request.needed_by or (request.task and self._state.queue.running(request.task.key)):
            return
        if request.task:
            self._state.queue.drop(request.task.key)
        self._remove(placement, request)

    def prepare(self, task: CopyBlob) -> CopyBlob:
        """The task with the unfinished upload that it can resume, if there is one.

        Mounts are read back until one was found. That is decided here, so that it concerns the first few
        only.
        """
        begun = self._state.facts.unfinished(task.destination, task.blob.digest)
        if begun and self._is_anew(task) and task.key not in self._own:
            self.keep(task, None)
            begun = None
        unknown = task.destination.registry not in self._mounts
        if unknown if task.mount else self._state.read_back.due(task):
            task = replace(task, check=True)
        if begun is None:
            return task
        self._unfinished.add(task.key)
        return replace(task, session=UploadCheckpoint(url=begun.url, offset=begun.offset))

    def keep(self, task: CopyBlob, session: UploadCheckpoint | None) -> None:
        """Note the progress of a running task's upload in the records; None: the upload is gone."""
        url, offset = (session.url, session.offset) if session else ("", 0)
        fact = UnfinishedUpload(repository=task.destination, digest=task.blob.digest, url=url, offset=offset)
        self._state.facts.write(fact)
        (self._unfinished.add if session else self._unfinished.discard)(task.key)
        if self._is_anew(task):
            self._own.add(task.key)

    def _is_anew(self, task: CopyBlob) -> bool:
        _, request = self._find(task)
        return request is not None and request.anew

    def copied(self, task: CopyBlob, outcome: BlobCopied) -> None:
        """A blob is in place."""
        self._count(task, outcome)
        if task.key in self._unfinished:
            self.keep(task, None)
        self._own.discard(task.key)
        if outcome.how == "mounted":
            self._state.queue.registry(task.destination.registry).mounts += 1
            self._mounts.add(task.destination.registry)
        if outcome.how != "left":
            self._state.confirm(task.destination, task.blob.digest, is_blob=True)
        placement, request = self._find(task)
        if placement is None or request is None:
            return
        if outcome.how != "left":
            placement.there.append(task.destination.path)
        self._count_refusal(request, refused=outcome.refused)
        self._state.notices.extend(BlobArrived(key, task.blob.digest) for key in request.needed_by)
        self._remove(placement, request)

    def _count(self, task: CopyBlob, outcome: BlobCopied) -> None:
        """Count a blob, in total and by registry."""
        self._state.figures.blob(outcome.how, task.size)
        registry = self._state.queue.registry(task.destination.registry)
        registry.blobs[outcome.how] += 1
        if outcome.how in ("mounted", "present"):
            registry.saved[outcome.how] += max(0, task.size)
        if self._state.debug:
            event = event_of(
                "blob.done",
                {
                    "source": str(task.source),
                    "destination": str(task.destination),
                    "blob": task.blob.digest,
                    "how": outcome.how,
                    "bytes": task.size if task.size >= 0 else None,
                    "duration": round(outcome.cost.seconds, 3),
                },
                stage="transfer",
            )
            self._state.events.append(event)

    def ask_first(self, task: CopyBlob) -> CopyBlob:
        """The task with a HEAD first: the lost worker may have finished it."""
        _, request = self._find(task)
        task = replace(task, ask=True)
        if request is not None:
            request.task = task
        return task

    def returned(self, task: CopyBlob) -> bool:
        """A task came back without an outcome; False: nothing needs it any more."""
        placement, request = self._find(task)
        if placement is None or request is None:
            return False
        if not request.needed_by:
            self._remove(placement, request)
            return False
        if self._state.ready(task):
            return True
        request.state, request.task = "waiting", None
        return False

    def failed(self, task: CopyBlob, outcome: TaskFailed) -> None:
        """A copy failed: at the source for all requests with that source, at the destination for one."""
        self._unfinished.discard(task.key)
        placement, request = self._find(task)
        if placement is None or request is None:
            return
        self._count_refusal(request, refused=outcome.refused)
        request.state, request.task = "waiting", None
        if outcome.fault.side == "source":
            hit = [
                r for r in placement.requests.values() if r.state != "copying" and task.source in r.sources
            ]
            for each in hit:
                each.sources.remove(task.source)
        else:
            hit = [request]
            request.sources.clear()
        lost = [each for each in hit if not (each.sources and each.needed_by)]
        for each in lost:
            del placement.requests[each.destination.path]
        # A leader may fail before it has a task, while it waits for the answer whether its repository is new.
        if placement.leader == request.destination.path or placement.leader not in placement.requests:
            placement.leader = ""
        self._start_waiting(placement)
        self._forget_if_idle(task.destination.registry, task.blob.digest)
        for each in lost:
            self._state.notices.extend(BlobFailed(key, outcome.fault) for key in each.needed_by)

    def exists(self, repository: Repository, *, is_new: bool = False) -> None:
        """Note whether a destination repository is new in this run; the first answer counts."""
        self._is_new.setdefault(repository, is_new)
        for digest in self._asking.pop(repository, ()):
            placement = self._placements.get((repository.registry, digest))
            if placement and repository.path in placement.requests:
                self._start(placement, placement.requests[repository.path])

    def _find(self, task: CopyBlob) -> tuple[BlobPlacement, BlobRequest] | tuple[None, None]:
        placement = self._placements.get((task.destination.registry, task.blob.digest))
        request = placement.requests.get(task.destination.path) if placement else None
        return (placement, request) if placement and request and request.task == task else (None, None)

    def _start(self, placement: BlobPlacement, request: BlobRequest) -> None:
        """Queue the request's task, or let it wait for the leader or for the answer about its repository."""
        if request.state == "copying" or not request.needed_by:
            return
        request.state, here = "waiting", request.destination
        registry = self._state.queue.registry(here.registry)
        mount, fresh = self._mount_from(placement, request)
        leads = placement.leader in ("", here.path)
        if not (fresh or leads or request.doubted) and registry.waits_for_mounts:
            return
        if leads and not fresh:
            placement.leader = here.path
        ask = request.doubted or request.held_before
        if not (ask or mount):
            if here not in self._is_new and self._state.facts.entered(here) and here not in self._asking:
                self._is_new[here] = False
            if here not in self._is_new:
                request.state = "entering"
                self._ask_whether_new(here, request.blob.digest)
                return
            ask = not self._is_new[here]
        task = CopyBlob(source=request.sources[0], blob=request.blob, destination=here, ask=ask, mount=mount)
        if self._state.ready(task):
            request.state, request.task, request.fresh_mount = "copying", task, fresh

    def _mount_from(self, placement: BlobPlacement, request: BlobRequest) -> tuple[str, bool]:
        """A repository to mount from, and whether this run has seen the blob there."""
        here = request.destination
        registry = self._state.queue.registry(here.registry)
        if request.doubted or not (registry.waits_for_mounts or registry.mounts):
            return "", False
        same = next((each.path for each in request.sources if each.registry == here.registry), "")
        if same and same != here.path:
            return same, True
        if placement.there:
            return placement.there[-1], True
        known = [
            p for p in self._state.facts.mount_sources(here.registry, request.blob.digest) if p != here.path
        ]
        for path in known:
            if self._state.holds(Repository(here.registry, path), request.blob.digest):
                return path, True
        return (known[0] if known else ""), False

    def _ask_whether_new(self, repository: Repository, digest: str) -> None:
        """Let the blob wait for one page of the destination's tag list: 404 says that it is new."""
        if repository not in self._asking:
            self._asking[repository] = {}
            self._state.facts.write(RepositoryEntered(repository=repository))
            self._state.ready(ListTags(repository=repository, side="destination", is_probe=True, count=1))
        self._asking[repository][digest] = None

    def _count_refusal(self, request: BlobRequest, *, refused: bool) -> None:
        registry = self._state.queue.registry(request.destination.registry)
        if not (refused and request.fresh_mount):
            return
        waited = registry.waits_for_mounts
        registry.refusals += 1
        if waited and not registry.waits_for_mounts:
            name = request.destination.registry
            self._state.events.append(event_of("registry.mount_refused", {"registry": name}))
            for (place, _), placement in self._placements.items():
                if place == name:
                    self._start_waiting(placement)

    def _remove(self, placement: BlobPlacement, request: BlobRequest) -> None:
        """Remove a finished request, and start those that waited for it."""
        del placement.requests[request.destination.path]
        if placement.leader == request.destination.path:
            placement.leader = ""
        self._start_waiting(placement)
        self._forget_if_idle(request.destination.registry, request.blob.digest)

    def _start_waiting(self, placement: BlobPlacement) -> None:
        for request in placement.requests.values():
            self._start(placement, request)

    def _forget_if_idle(self, registry: str, digest: str) -> None:
        placement = self._placements.get((registry, digest))
        if placement is not None and not placement.requests:
            del self._placements[registry, digest]

    @property
    def unsent(self) -> int:
        """Bytes of the requested blobs, except those that wait to be mounted."""
        requests = (each for placement in self._placements.values() for each in placement.requests.values())
        return sum(max(0, each.blob.size) for each in requests if each.state != "waiting")

    def payer(self, task: CopyBlob) -> str:
        """Key of the manifest that pays for a task; empty: none."""
        _, request = self._find(task)
        return request.payer if request else ""

    def validate(self) -> None:
        """Check that each request has its task, or waits for something that will arrive.

        Raises:
            AssertionError: one is not.
        """
        for (registry, digest), placement in self._placements.items():
            for request in placement.requests.values():
                self._validate(request, placement.leader)
            assert not placement.leader or placement.leader in placement.requests, (
                f"{digest} has lost its leader at {registry}"
            )

    def _validate(self, request: BlobRequest, leader: str) -> None:
        key, queue = f"{request.destination}@{request.blob.digest}", self._state.queue
        assert (request.state == "copying") == (request.task is not None), (
            f"{key} has no move, or one too many"
        )
        if request.task is not None:
            assert request.needed_by or queue.running(request.task.key), f"nobody needs {key}"
        if self._state.is_stopping:
            return
        match request.state:
            case "waiting":
                assert leader not in ("", request.destination.path), f"{key} waits for nobody"
            case "entering":
                assert request.blob.digest in self._asking.get(request.destination, ()), f"{key} is forgotten"
            case "copying":
                lost = request.task is None or not queue.knows(request.task.key)
                assert not lost, f"the move of {key} is lost"

    @property
    def held(self) -> int:
        """Digests in the ledger, for tests of what memory depends on."""
        return len(self._placements)
