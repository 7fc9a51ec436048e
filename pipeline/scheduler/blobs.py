"""Blobs: each crosses the network once per destination registry that mounts, else per repository.

Per (destination registry, digest) one repository leads; whoever else wants the blob waits, then mounts from
the leader's. What waits for a blob is named by opaque keys (the manifests that need it).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pipeline.log import Event
from pipeline.model.facts import RepositoryEntered, UnfinishedUpload
from pipeline.model.messages import CopyBlob, ListTags, UploadCheckpoint
from pipeline.model.reference import Repository
from pipeline.scheduler.notices import BlobArrived, BlobFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.model.manifest import Descriptor
    from pipeline.model.messages import BlobCopied, TaskFailed
    from pipeline.scheduler.shared_state import SharedState


@dataclass(slots=True)
class BlobRequest:
    """One blob wanted in one repository."""

    destination: Repository
    blob: Descriptor
    sources: list[Repository]
    """Where it can be read, first choice first."""
    needed_by: set[str] = field(default_factory=set)
    """Keys of what waits; empty while the move still runs: nobody waits any more."""
    held_before: bool = False
    """Whether an earlier run has seen it there: to be confirmed by asking."""
    doubted: bool = False
    """The registry has said that it lacks what was believed to be there: ask, and mount nothing."""
    task: CopyBlob | None = None
    """The move that is ready or running."""
    fresh_mount: bool = False
    """Whether the move mounts from what this run has seen: a refusal then tells about the registry."""


@dataclass(slots=True)
class BlobPlacement:
    """One digest at one destination registry."""

    wants: dict[str, BlobRequest] = field(default_factory=dict)
    """By repository path."""
    leader: str = ""
    """Path of the repository whose move the others wait for; empty: nobody moves."""
    there: list[str] = field(default_factory=list)
    """Paths of repositories that this run has seen to hold it."""


class Blobs:
    """The ledger of blobs; what arrived or failed is told to who needs it."""

    def __init__(self, state: SharedState) -> None:
        """Nothing is wanted."""
        self._state = state
        self._spreads: dict[tuple[str, str], BlobPlacement] = {}
        self._is_new: dict[Repository, bool] = {}
        self._asking: dict[Repository, dict[str, None]] = {}
        """Digests, in order, whose moves wait for word whether the repository is new."""
        self._mounts: set[str] = set()
        """Registries where a blob that they said they mounted was found."""
        self._unfinished: set[str] = set()
        """Keys of running moves that have an upload in the records."""
        self._own: set[str] = set()
        """Keys of moves whose upload in the records is this run's; with --force no other is gone on from."""

    def want(
        self,
        key: str,
        blob: Descriptor,
        *,
        sources: Sequence[Repository],
        destination: Repository,
        doubted: bool = False,
    ) -> bool:
        """Say that `key` needs the blob in the destination repository; True: it is there, nothing follows."""
        spread = self._spreads.setdefault((destination.registry, blob.digest), BlobPlacement())
        held = self._state.facts.held(destination, blob.digest)
        known = destination.path in spread.there or held == self._state.run
        want = spread.wants.get(destination.path)
        if known and want is None and (self._state.aim == "verify" or not doubted):
            self._forget_if_idle(destination.registry, blob.digest)
            return True
        if want is None:
            want = spread.wants[destination.path] = BlobRequest(destination, blob, [], held_before=held != "")
        want.sources.extend(source for source in sources if source not in want.sources)
        want.needed_by.add(key)
        want.doubted = want.doubted or doubted
        if doubted and destination.path in spread.there:
            spread.there.remove(destination.path)
        self._start(spread, want)
        return False

    def unwant(self, key: str, *, destination: Repository, digest: str) -> None:
        """`key` does not need the blob any more; a move that has not begun passes to the next repository."""
        spread = self._spreads.get((destination.registry, digest))
        want = spread.wants.get(destination.path) if spread else None
        if spread is None or want is None:
            return
        want.needed_by.discard(key)
        if want.needed_by or (want.task and self._state.queue.running(want.task.key)):
            return
        if want.task:
            self._state.queue.drop(want.task.key)
        self._remove(spread, want)

    def prepare(self, task: CopyBlob) -> CopyBlob:
        """The move as it is given out: with the upload that it can go on from, if there is one.

        Mounts are read back until one was found: those that are given out together, not all that wait.
        """
        unknown = task.destination.registry not in self._mounts
        if unknown if task.mount else self._state.read_back.due(task):
            task = replace(task, check=True)
        begun = self._state.facts.unfinished(task.destination, task.blob.digest)
        if begun and self._state.force and task.key not in self._own:
            self.keep(task, None)
            return task
        if begun is None:
            return task
        self._unfinished.add(task.key)
        return replace(task, session=UploadCheckpoint(url=begun.url, offset=begun.offset))

    def keep(self, task: CopyBlob, session: UploadCheckpoint | None) -> None:
        """Have the records know how far a running move's upload has got; None: there is none any more."""
        url, offset = (session.url, session.offset) if session else ("", 0)
        fact = UnfinishedUpload(repository=task.destination, digest=task.blob.digest, url=url, offset=offset)
        self._state.facts.write(fact)
        (self._unfinished.add if session else self._unfinished.discard)(task.key)
        if self._state.force:
            self._own.add(task.key)

    def moved(self, task: CopyBlob, outcome: BlobCopied) -> None:
        """A move ended well."""
        if task.key in self._unfinished:
            self.keep(task, None)
        self._own.discard(task.key)
        if outcome.how == "mounted":
            self._state.queue.registry(task.destination.registry).mounts += 1
            self._mounts.add(task.destination.registry)
        if outcome.how != "left":
            self._state.confirm(task.destination, task.blob.digest, is_blob=True)
        spread, want = self._find(task)
        if spread is None or want is None:
            return
        if outcome.how != "left":
            spread.there.append(task.destination.path)
        self._count_refusal(want, refused=outcome.refused)
        self._state.notices.extend(BlobArrived(key, task.blob.digest) for key in want.needed_by)
        self._remove(spread, want)

    def ask_first(self, task: CopyBlob) -> CopyBlob:
        """The move, asking what is there: it comes back from a worker that may have run on for a while."""
        _, want = self._find(task)
        task = replace(task, ask=True)
        if want is not None:
            want.task = task
        return task

    def returned(self, task: CopyBlob) -> bool:
        """A move came back undone; False: nobody needs it any more."""
        spread, want = self._find(task)
        if spread is None or want is None:
            return False
        if not want.needed_by:
            self._remove(spread, want)
            return False
        return self._state.ready(task)

    def failed(self, task: CopyBlob, outcome: TaskFailed) -> None:
        """A move failed: at the source for all who share that source, at the destination for one."""
        self._unfinished.discard(task.key)
        spread, want = self._find(task)
        if spread is None or want is None:
            return
        self._count_refusal(want, refused=outcome.refused)
        want.task = None
        if outcome.fault.side == "source":
            hit = [w for w in spread.wants.values() if w.task is None and task.source in w.sources]
            for each in hit:
                each.sources.remove(task.source)
        else:
            hit = [want]
            want.sources.clear()
        lost = [each for each in hit if not (each.sources and each.needed_by)]
        for each in lost:
            del spread.wants[each.destination.path]
        # A leader may be lost without a move of its own: while its registry says whether it is new.
        if spread.leader == want.destination.path or spread.leader not in spread.wants:
            spread.leader = ""
        self._start_waiting(spread)
        self._forget_if_idle(task.destination.registry, task.blob.digest)
        for each in lost:
            self._state.notices.extend(BlobFailed(key, outcome.fault) for key in each.needed_by)

    def exists(self, repository: Repository, *, is_new: bool = False) -> None:
        """Take down whether a destination repository is new in this run; the first word stands."""
        self._is_new.setdefault(repository, is_new)
        for digest in self._asking.pop(repository, ()):
            spread = self._spreads.get((repository.registry, digest))
            if spread and repository.path in spread.wants:
                self._start(spread, spread.wants[repository.path])

    def _find(self, task: CopyBlob) -> tuple[BlobPlacement, BlobRequest] | tuple[None, None]:
        spread = self._spreads.get((task.destination.registry, task.blob.digest))
        want = spread.wants.get(task.destination.path) if spread else None
        return (spread, want) if spread and want and want.task == task else (None, None)

    def _start(self, spread: BlobPlacement, want: BlobRequest) -> None:
        """Make the want's move ready, or let it wait for the leader or for word of its repository."""
        if want.task or not want.needed_by:
            return
        here = want.destination
        registry = self._state.queue.registry(here.registry)
        mount, fresh = self._mount_from(spread, want)
        leads = spread.leader in ("", here.path)
        if not (fresh or leads or want.doubted) and registry.waits_for_mounts:
            return
        if leads and not fresh:
            spread.leader = here.path
        ask = want.doubted or want.held_before
        if not (ask or mount):
            if here not in self._is_new and self._state.facts.entered(here) and here not in self._asking:
                self._is_new[here] = False
            if here not in self._is_new:
                self._ask_whether_new(here, want.blob.digest)
                return
            ask = not self._is_new[here]
        want.fresh_mount = fresh
        want.task = CopyBlob(source=want.sources[0], blob=want.blob, destination=here, ask=ask, mount=mount)
        self._state.ready(want.task)

    def _mount_from(self, spread: BlobPlacement, want: BlobRequest) -> tuple[str, bool]:
        """A repository to mount from, and whether this run has seen the blob there."""
        here = want.destination
        registry = self._state.queue.registry(here.registry)
        if want.doubted or not (registry.waits_for_mounts or registry.mounts):
            return "", False
        same = next((each.path for each in want.sources if each.registry == here.registry), "")
        if same and same != here.path:
            return same, True
        if spread.there:
            return spread.there[-1], True
        known = [
            p for p in self._state.facts.mount_sources(here.registry, want.blob.digest) if p != here.path
        ]
        for path in known:
            if self._state.holds(Repository(here.registry, path), want.blob.digest):
                return path, True
        return (known[0] if known else ""), False

    def _ask_whether_new(self, repository: Repository, digest: str) -> None:
        """Have the blob's move wait for one page of the destination's tag list: 404 says that it is new."""
        if repository not in self._asking:
            self._asking[repository] = {}
            self._state.facts.write(RepositoryEntered(repository=repository))
            self._state.ready(ListTags(repository=repository, side="destination", count=1))
        self._asking[repository][digest] = None

    def _count_refusal(self, want: BlobRequest, *, refused: bool) -> None:
        registry = self._state.queue.registry(want.destination.registry)
        if not (refused and want.fresh_mount):
            return
        waited = registry.waits_for_mounts
        registry.refusals += 1
        if waited and not registry.waits_for_mounts:
            self._state.events.append(_mount_refused(want.destination.registry))
            for (name, _), spread in self._spreads.items():
                if name == want.destination.registry:
                    self._start_waiting(spread)

    def _remove(self, spread: BlobPlacement, want: BlobRequest) -> None:
        """Take a want that has ended out of the ledger, and let those that waited for it go on."""
        del spread.wants[want.destination.path]
        if spread.leader == want.destination.path:
            spread.leader = ""
        self._start_waiting(spread)
        self._forget_if_idle(want.destination.registry, want.blob.digest)

    def _start_waiting(self, spread: BlobPlacement) -> None:
        for want in spread.wants.values():
            self._start(spread, want)

    def _forget_if_idle(self, registry: str, digest: str) -> None:
        spread = self._spreads.get((registry, digest))
        if spread is not None and not spread.wants:
            del self._spreads[registry, digest]

    def first_key(self, task: CopyBlob) -> str:
        """One of the keys that wait for a move; empty: none does."""
        _, want = self._find(task)
        return next(iter(want.needed_by), "") if want else ""

    def validate(self) -> None:
        """Check that nobody waits for a leader that is not there.

        Raises:
            AssertionError: somebody does.
        """
        for (registry, digest), spread in self._spreads.items():
            assert not spread.leader or spread.leader in spread.wants, (
                f"{digest} has lost its leader at {registry}"
            )

    @property
    def held(self) -> int:
        """Digests that the ledger knows of, for tests of what memory depends on."""
        return len(self._spreads)


def _mount_refused(registry: str) -> Event:
    return Event(
        name="registry.mount_refused",
        message=f"{registry} does not mount blobs from other repositories: each is sent to every repository"
        " that needs it",
        fields={"registry": registry},
    )
