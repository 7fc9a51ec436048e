"""Runners that workers import in tests: the digest of a FetchManifest says what happens."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.engine.packing import MAX_MESSAGE
from pipeline.log import Event
from pipeline.model.manifest import Manifest
from pipeline.model.messages import FetchManifest, ManifestFetched, ManifestPushed, Outcome, Task
from pipeline.model.reference import Repository
from pipeline.settings import MAX_MANIFEST, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.stages.run import Runner

PLAIN = "tests.engine.runners:make_plain"
BROKEN = "tests.engine.runners:make_nothing"
STILLBORN = "tests.engine.runners:make_after_deaths"
BIG = "sha256:big"


def ask(word: str) -> FetchManifest:
    """A task that makes the plain runner do what `word` says."""
    return FetchManifest(repository=Repository("registry.test", "a"), digest=word)


def manifest(size: int) -> Manifest:
    """A manifest of `size` bytes."""
    return Manifest(content=b"x" * size, media_type="m", digest=BIG, kind="image")


def make_plain(_settings: Settings, _keyring: object) -> Runner:
    """The runner of nearly all tests."""
    pair = threading.Barrier(2)

    def run(task: Task, moved: Callable[[int], None], _kept: object) -> Outcome:
        word = task.digest if isinstance(task, FetchManifest) else ""
        match word.partition(" ")[0]:
            case "big":
                return ManifestFetched(key=task.key, manifest=manifest(MAX_MANIFEST))
            case "huge":
                return ManifestFetched(key=task.key, manifest=manifest(MAX_MESSAGE + 1))
            case "odd":
                odd = Event(name="odd", message="", fields={"odd": run})  # type: ignore[dict-item] # what pickle refuses
                return ManifestPushed(key=task.key, events=(odd,))
            case "pair":
                pair.wait(timeout=30)
            case "move":
                moved(7)
                threading.Event().wait()
            case "wait":
                threading.Event().wait()
            case "raise":
                raise RuntimeError(
                    "no way to https://me:hunter2@registry.test/v2/?state=hunter2 with Bearer hunter2"
                )
            case "leave":
                sys.exit(3)
            case "exit":
                os._exit(3)
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
        return ManifestPushed(key=task.key)

    return run


def make_nothing(_settings: Settings, _keyring: object) -> Runner:
    """A maker that fails."""
    raise OSError("the keyring\nis locked")


def make_after_deaths(settings: Settings, folder: object) -> Runner:
    """Each file in the folder makes one worker die."""
    for file in Path(str(folder)).iterdir():
        file.unlink()
        os._exit(3)
    return make_plain(settings, folder)
