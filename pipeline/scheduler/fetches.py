"""Fetches: a manifest is read once for all open images that want it.

Held bytes are limited; above that only the oldest image keeps fetching, so that it can finish and release
what it holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.scheduler.need import Need
from pipeline.scheduler.notices import Fetched, FetchFailed
from pipeline.settings import MIB

if TYPE_CHECKING:
    from pipeline.errors import Fault
    from pipeline.model.manifest import Manifest
    from pipeline.model.messages import FetchManifest
    from pipeline.scheduler.shared_state import SharedState


_GUESS = MIB
"""Bytes of a manifest as long as none has been seen: few are asked for at first."""


@dataclass(slots=True)
class Fetch(Need):
    """One manifest that open images want."""

    task: FetchManifest
    state: Literal["waiting", "asked", "read"] = "waiting"
    """It waits for room; its task is ready or runs; the manifest is held."""
    manifest: Manifest | None = None


class Fetches:
    """The ledger of fetches; what was read is told to images."""

    def __init__(self, state: SharedState, *, most: int) -> None:
        """Nothing is read; `most`: bytes of manifests held beyond which only one image reads on."""
        self._state = state
        self._fetches: dict[str, Fetch] = {}
        self._of_image: dict[str, set[str]] = {}
        self._pending: dict[str, int] = {}
        self._most = most
        self._largest = 0
        self._waiting: dict[str, None] = {}
        """Keys of the fetches that wait for room, in order."""
        self._asked = 0
        """Fetches that are asked for."""
        self.bytes_held = 0
        """Bytes of the manifests that open images refer to."""

    def want(self, image: str, task: FetchManifest, *, at_once: bool = False) -> Manifest | None:
        """An image wants a manifest: it is returned where it has been read already, else told later.

        `at_once`: without waiting for room, since the image that waits for it holds what fills the room.
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
        """Ask for what there is room for, and for what the eldest image wants in any case."""
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

    def returned(self, task: FetchManifest) -> bool:
        """A read came back undone; False: nobody needs it any more."""
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
        """Whether the image still waits for a read."""
        return self._pending.get(image, 0) > 0

    def got(self, task: FetchManifest, manifest: Manifest) -> None:
        """A read ended well."""
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
        """A read failed, for all images that want it."""
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
        """An image has ended; what no other image refers to is dropped."""
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
        """Check that fetches are what their states say.

        Raises:
            AssertionError: one is not.
        """
        assert self._asked == sum(fetch.state == "asked" for fetch in self._fetches.values())
        for key, fetch in self._fetches.items():
            assert (fetch.state == "waiting") == (key in self._waiting), f"{key} waits, or does not"
            assert (fetch.state == "read") == (fetch.manifest is not None), f"{key} has not been read"
            if fetch.state == "asked" and not self._state.is_stopping:
                assert self._state.queue.knows(key), f"nobody fetches {key}"
