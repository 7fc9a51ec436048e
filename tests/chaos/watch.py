"""Watches registries from within: tags when they are pushed, faults when they happen, and due events.

An event is tied to a number of requests, not to time, so that a seed means the same on any machine.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.chaos.checker import dangling
from tests.chaos.expect import Held
from tests.registry.faults import Faults
from tests.registry.registry import Registry
from tests.registry.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.registry.faults import Action
    from tests.registry.log import Entry
    from tests.registry.store import Repository, Stored

_DIGEST = re.compile(r"digest=([^&]+)")


class Delivered(NamedTuple):
    """A fault that happened to a request."""

    kind: str
    method: str
    target: str


class WatchedStore(Store):
    """Checks the tree below every tag when it is pushed."""

    def __init__(self) -> None:
        """Start empty; checks begin once `watching` is set, since filling a registry is not a push."""
        super().__init__()
        self.watching = False
        self.early: list[str] = []
        """Tags that were pushed before their content was complete."""
        self.lossy: set[str] = set()
        """Repositories that lost content; errors there are not the run's fault."""

    def put(self, name: str, stored: Stored, *, digest: str = "", tags: Iterable[str] = ()) -> str:
        """Store as `Store` does, then check the tree."""
        tags = list(tags)
        digest = super().put(name, stored, digest=digest, tags=tags)
        if self.watching and tags and name not in self.lossy:
            with self.lock:
                sparse = name.startswith("sparse/")
                what = dangling(held(self.repositories[name]), digest, sparse=sparse)
            if what:
                self.early.append(f"the tag {name}:{tags[0]} was moved, but {what}")
        return digest


class WatchedFaults(Faults):
    """Records faults, and runs due events."""

    def __init__(self) -> None:
        """Start with nothing due."""
        super().__init__()
        self.met: list[Delivered] = []
        self._count = 0
        self._due: dict[int, list[Callable[[], None]]] = {}
        self._counting = threading.Lock()

    def schedule(self, due: dict[int, list[Callable[[], None]]]) -> None:
        """Reset the counter; run these actions at the requests with these numbers, from 1."""
        with self._counting:
            self._count, self._due = 0, due

    def take(self, entry: Entry) -> Action | None:
        """The fault for a request, as in `Faults`, after due events."""
        with self._counting:
            self._count += 1
            due = self._due.get(self._count, ())
        for act in due:
            act()
        action = super().take(entry)
        if action is not None:
            status = getattr(action, "status", "")
            self.met.append(Delivered(f"{type(action).__name__}{status}", entry.method, entry.target))
        return action


class Watched(Registry):
    """A registry that is watched."""

    def __init__(self, **options: Any) -> None:
        """See Registry."""
        super().__init__(**options)
        self.store: WatchedStore = WatchedStore()
        self.faults: WatchedFaults = WatchedFaults()
        self.passwords = {self.options.password}
        """All passwords that it ever had."""

    def held(self) -> list[tuple[str, Repository]]:
        """Its repositories by name."""
        with self.store.lock:
            return list(self.store.repositories.items())

    def world(self) -> dict[tuple[str, str], Held]:
        """The present content of its repositories."""
        with self.store.lock:
            return {(self.address, name): held(found) for name, found in self.store.repositories.items()}

    def sent_twice(self, *, kills: int) -> list[str]:
        """Blobs that were uploaded into one repository twice without an excuse.

        A fault excuses its repository. A kill excuses what was in flight.
        """
        uploads = self.requests(method="PUT", path=r"/blobs/uploads/.*digest=", status=201)
        counts = Counter(
            (entry.path.split("/blobs/")[0].removeprefix("/v2/"), _DIGEST.findall(entry.query)[0])
            for entry in uploads
        )
        touched = {met.target.partition("/v2/")[2].partition("?")[0] for met in self.faults.met}
        twice = [
            (name, digest)
            for (name, digest), count in counts.items()
            if count > 1
            and name not in self.store.lossy
            and not any(path.startswith(f"{name}/") for path in touched)
        ]
        return (
            []
            if len(twice) <= kills * 16
            else [f"{digest} was sent to {name} twice" for name, digest in twice]
        )


def held(repository: Repository) -> Held:
    """A copy of a repository's content."""
    return Held(
        tags=dict(repository.tags),
        manifests={digest: (each.content, each.media_type) for digest, each in repository.manifests.items()},
        blobs={digest: each.read() for digest, each in repository.blobs.items()},
    )
