"""Fetches: a manifest is read once for all open images that need it.

The bytes in memory are limited; above the limit only the oldest image continues, so that it can finish and
release its manifests.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pipeline.dataclass import dataclass
from pipeline.scheduler.need import Need
from pipeline.scheduler.notices import Fetched, FetchFailed
from pipeline.settings import MIB

if TYPE_CHECKING:
    from pipeline.errors import Fault
    from pipeline.model.manifest import Manifest
    from pipeline.model.messages import FetchManifest
    from pipeline.scheduler.shared_state import SharedState


_GUESS = MIB
"""Assumed bytes of a manifest until one has been read, so that few are requested at first."""


@dataclass(slots=True)
class Fetch(Need):
    """One manifest that open images need."""

    task: FetchManifest
    state: Literal["waiting", "asked", "read"] = "waiting"
    """waiting: for room; asked: its task is queued or runs; read: the manifest is in memory."""
    manifest: Manifest | None = None


class Fetches:
    """The ledger of fetches; images get the manifests as notices."""

    def __init__(self, state: SharedState, *, most: int) -> None:
        """Begin empty; `most`: bytes of manifests in memory above which only one image continues."""
        self._state = state
        self._fetches: dict[str, Fetch] = {}
        self._of_image: dict[str, set[str]] = {}
        self._pending: dict[str, int] = {}
        self._most = most
        self._largest = 0
        self._waiting: dict[str, None] = {}
        """Keys of the fetches that wait for room, in order."""
        self._asked = 0
        """Fetches whose task is queued or runs."""
        self.bytes_held = 0
        """Bytes of the manifests in memory."""

    def want(self, image: str, task: FetchManifest, *, at_once: bool = False) -> Manifest | None:
        """Request a manifest for an image: it is returned if it has been read, else a notice follows.

        `at_once`: do not wait for room, because the image that waits for it fills the room itself.
        """
        fetch = self._fetches.get(task.key)
        if fetch is None:
            fetch = self._fetches[task.key] = Fetch(task)
            self._waiting[task.key] = None
        if image not in fetch.needed_by:
            fetch.join(image)
            self._of_image.setdefault(image, set()).add(task.key)
            if fetch.state != "read":
                self._pending[image] = self._pending.get(image, 0) + 1
        if at_once and task.key in self._waiting:
            self._ask_for(task.key)
        self._ask()
        return fetch.manifest

    def _ask(self) -> None:
        """Queue the fetches that there is room for, and those of the oldest image in any case."""
        guess = self._largest or _GUESS
        while self._waiting and self.bytes_held + (self._asked + 1) * guess <= self._most:
            self._ask_for(next(iter(self._waiting)))
        if self._waiting:
            eldest = next(iter(self._of_image))
            for key in [key for key in self._of_image[eldest] if key in self._waiting]:
                self._ask_for(key)

    def _ask_for(self, key: str) -> None:
        del self._waiting[key]
        fetch = self._fetches[key]
        fetch.state = "asked"
        self._asked += 1
        self._state.ready(fetch.task)

    def prepare(self, task: FetchManifest) -> FetchManifest:
        """The read as it is given out: it looks first where only pulls for others are left."""
        reserve = self._state.queue.registry(task.read_from.registry).reserve
        return task if reserve is None or reserve.since is None else replace(task, reserve=reserve.kept)

    def returned(self, task: FetchManifest) -> bool:
        """A fetch came back without an outcome; False: nobody needs it any more."""
        fetch = self._fetches.get(task.key)
        if fetch is None:
            return False
        if not fetch.needed_by:
            self._forget(task.key)
            return False
        return self._state.ready(task)

    def _forget(self, key: str) -> None:
        fetch = self._fetches.pop(key)
        self._waiting.pop(key, None)
        self._asked -= fetch.state == "asked"
        if fetch.manifest is not None:
            self.bytes_held -= len(fetch.manifest.content)

    def pending(self, image: str) -> bool:
        """Whether the image still waits for a fetch."""
        return self._pending.get(image, 0) > 0

    def got(self, task: FetchManifest, manifest: Manifest) -> None:
        """A manifest was read."""
        fetch = self._fetches.get(task.key)
        if fetch is None or fetch.state != "asked":
            return
        if not fetch.needed_by:
            self._forget(task.key)
            return
        self._asked -= 1
        fetch.state, fetch.manifest = "read", manifest
        self._largest = max(self._largest, len(manifest.content))
        self.bytes_held += len(manifest.content)
        for image in fetch.needed_by:
            self._pending[image] -= 1
            self._state.notices.append(Fetched(image, manifest))
        self._ask()

    def failed(self, task: FetchManifest, fault: Fault) -> None:
        """A fetch failed, for all images that need it."""
        fetch = self._fetches.get(task.key)
        if fetch is None:
            return
        self._forget(task.key)
        for image in fetch.needed_by:
            self._pending[image] -= 1
            self._of_image[image].discard(task.key)
            self._state.notices.append(FetchFailed(image, task, fault))
        self._ask()

    def leave(self, image: str) -> None:
        """Drop what only this image needed."""
        self._pending.pop(image, None)
        for key in self._of_image.pop(image, ()):
            fetch = self._fetches[key]
            fetch.leave(image)
            if fetch.needed_by or self._state.queue.running(key):
                continue
            self._state.queue.drop(key)
            self._forget(key)
        self._ask()

    def payer(self, task: FetchManifest) -> str:
        """The image that pays for a fetch; empty: none."""
        fetch = self._fetches.get(task.key)
        return fetch.payer if fetch else ""

    def validate(self) -> None:
        """Check that fetches fit their states.

        Raises:
            AssertionError: one is not.
        """
        assert self._asked == sum(fetch.state == "asked" for fetch in self._fetches.values())
        for key, fetch in self._fetches.items():
            assert (fetch.state == "waiting") == (key in self._waiting), f"{key} waits, or does not"
            assert (fetch.state == "read") == (fetch.manifest is not None), f"{key} has not been read"
            if fetch.state == "asked" and not self._state.is_stopping:
                assert self._state.queue.knows(key), f"nobody fetches {key}"
