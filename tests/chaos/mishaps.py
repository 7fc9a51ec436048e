"""Faults of registries and records; blows.py has those of processes. Each returns whether it happened."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING, TypeVar

from tests.chaos.choosing import LISTS
from tests.registry import content
from tests.registry.store import referred

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.chaos.expect import Pair
    from tests.chaos.watch import Watched
    from tests.registry.store import Repository

    Repositories = list[tuple[Watched, str]]
_Item = TypeVar("_Item")
_OF_SOURCES = ("team/", "base/")


class Mishaps:
    """Everything that goes wrong in a round except faults and blows, with what the checker needs."""

    def __init__(self, registries: list[Watched], sources: int, folder: Path) -> None:
        """Args: sources: number of registries that are sources; folder: the command's working directory."""
        self._registries, self._sources, self._folder = registries, sources, folder
        self._waking: dict[Watched, threading.Timer] = {}
        self.lapsed: set[tuple[str, str]] = set()
        """Repositories that lost content below their tags: only --force looks there."""
        self.healing: set[tuple[str, str]] = set()
        """Repositories that lost a tag and content below it: the next finished run restores both."""
        self.executed = folder / "executed"
        """Exists if a planted pickle was loaded."""
        self.kinds: dict[str, Callable[[Watched, float], bool]] = {
            "expire": self._expire,
            "down": self._down,
            "password": self._password,
            "lose": self._lose,
            "records removed": self._remove_records,
            "records damaged": self._damage_records,
            "pickle": self._plant,
            "source moved": self._move_source,
        }

    def happen(self, kind: str, registry: int, choice: float) -> bool:
        """Make it happen; `choice` from 0 to 1 selects one of several."""
        return self.kinds[kind](self._registries[registry], choice)

    def settle(self) -> None:
        """Restart every registry that is down."""
        for registry, timer in self._waking.items():
            timer.cancel()
            timer.join()
            registry.resume()
        self._waking.clear()

    def _expire(self, registry: Watched, choice: float) -> bool:
        del choice
        registry.expire_tokens()
        return registry.options.auth == "token"

    def _down(self, registry: Watched, choice: float) -> bool:
        """Kill it and restart it within 1.1 s, without the uploads in progress."""
        if registry in self._waking:
            return False
        registry.suspend()
        for _, repository in registry.held():
            repository.uploads.clear()
        registry.expire_tokens()
        timer = self._waking[registry] = threading.Timer(0.1 + choice, self._wake, (registry,))
        timer.daemon = True
        timer.start()
        return True

    def _wake(self, registry: Watched) -> None:
        registry.resume()
        self._waking.pop(registry, None)

    def _password(self, registry: Watched, choice: float) -> bool:
        if registry.options.auth == "none":
            return False
        registry.set(password=f"{registry.options.password}-{choice * 1e9:.0f}")
        registry.passwords.add(registry.options.password)
        registry.expire_tokens()
        return True

    def _copies(self) -> list[tuple[Watched, str, Repository]]:
        return [
            (registry, name, repository)
            for registry in self._registries
            for name, repository in registry.held()
            if not name.startswith(_OF_SOURCES)
        ]

    def _lose(self, _: Watched, choice: float) -> bool:
        """Remove a blob, or a manifest without a tag, from a destination."""
        found = [
            (registry, name, kind, digest)
            for registry, name, repository in self._copies()
            for kind, digests in (
                ("blob", set(repository.blobs)),
                ("manifest", set(repository.manifests) - set(repository.tags.values())),
            )
            for digest in digests
        ]
        if not found:
            return False
        registry, name, kind, digest = _pick(found, choice, key=lambda each: str(each[1:]))
        repository = registry.store.create(name)
        (repository.blobs if kind == "blob" else repository.manifests).pop(digest, None)
        registry.store.lossy.add(name)
        self.lapsed.add((registry.address, name))
        return True

    def lose_tag(self, pairs: Iterable[Pair], choice: float) -> bool:
        """Remove the tag of one of these, and content below it, from its destination."""
        places = {pair.destination for pair in pairs}
        order = [registry.address for registry in self._registries]
        by_address = {registry.address: registry for registry in self._registries}
        found = [
            (place, digest)
            for place in places
            if (repository := by_address[place.registry].store.get(place.repository))
            and (digest := repository.resolve(place.name))
        ]
        if not found:
            return False
        place, top = _pick(found, choice, key=lambda each: f"{order.index(each[0].registry)} {each[0][1:]}")
        registry = by_address[place.registry]
        repository = registry.store.create(place.repository)
        below = [each for part in referred(repository.manifests[top].content) for each in part]
        victim = _pick(below, 1 - choice)
        repository.blobs.pop(victim, None)
        repository.manifests.pop(victim, None)
        if ":" in place.name:
            del repository.manifests[top]
        else:
            repository.untag(place.name)
        registry.store.lossy.add(place.repository)
        self.healing.add((place.registry, place.repository))
        return True

    def _move_source(self, _: Watched, choice: float) -> bool:
        """Move a tag of a source to another image, or add a tag; lists of companions stay."""
        source = self._registries[int(choice * self._sources)]
        name = _pick([name for name, _ in source.held() if name.startswith("team/")], choice)
        tag = _pick(["v-new", *(each for each in source.tags(name) if not LISTS.fullmatch(each))], 1 - choice)
        source.add(name, content.image(content.layer(f"moved {choice}")), tag)
        return True

    def _store(self) -> Path:
        return self._folder / "records" / "store"

    def _remove_records(self, _: Watched, choice: float) -> bool:
        """Remove all records, or only the database."""
        doomed = self._store().parent if choice < 0.5 else self._store()
        there = doomed.exists()
        shutil.rmtree(doomed, ignore_errors=True)
        return there

    def _damage_records(self, _: Watched, choice: float) -> bool:
        """Overwrite or truncate the database, or its write-ahead log.

        The shared-memory index of that log is left alone: truncating it kills the processes that map it
        (SIGBUS).
        """
        files = sorted(
            path
            for path in self._store().glob("*")
            if path.is_file() and path.suffix != ".db-shm" and path.stat().st_size
        )
        if not files:
            return False
        path = _pick(files, choice)
        size = path.stat().st_size
        with path.open("r+b") as file:
            if choice * 10 % 1 < 0.5:
                file.write(Random(choice).randbytes(size))
            else:
                file.truncate(size // 2)
        return True

    def _plant(self, _: Watched, choice: float) -> bool:
        """Turn rows of the records into pickles that leave a mark when loaded."""
        del choice
        pickled = b"cos\nsystem\n(S'touch %s'\ntR." % os.fsencode(self.executed)
        database = self._store() / "cache.db"
        if not database.exists():
            return False
        try:
            with closing(sqlite3.connect(database)) as opened, opened:
                opened.execute("UPDATE Cache SET mode = 4, value = ? WHERE key != 'version'", (pickled,))
                opened.execute(
                    "INSERT OR REPLACE INTO Cache (key, raw, store_time, mode, value) VALUES (?, 0, 0, 4, ?)",
                    (pickled, pickled),
                )
        except sqlite3.Error:
            return False
        return True


def _pick(items: Iterable[_Item], choice: float, *, key: Callable[[_Item], str] = str) -> _Item:
    """One of the items; the same one whenever the seed is repeated."""
    ordered = sorted(items, key=key)
    return ordered[min(int(choice * len(ordered)), len(ordered) - 1)]
