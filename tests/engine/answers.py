"""A runner that answers every task at once and correctly, unless a tag requests something else.

`die`: its worker is killed. `die-once-N`: the same, but only once. `stop`: its worker is stopped, once.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.model.catalogue import RepositoryPage
from pipeline.model.listing_tasks import ListDigests, ListRepositories, ListTags
from pipeline.model.messages import (
    BlobCopied,
    CopyBlob,
    DigestsListed,
    FetchManifest,
    HeadManifests,
    ManifestFetched,
    ManifestHead,
    ManifestPushed,
    ManifestsHeaded,
    PushManifest,
    ReferrersListed,
    RepositoriesListed,
    TagsListed,
)
from pipeline.model.referrers import ListReferrers
from tests.unit.scheduler.world import digest, image, manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.model.messages import Outcome, Task
    from pipeline.settings import Settings
    from pipeline.stages.run import Runner

RUNNER = "tests.engine.answers:make"
BROKEN = "tests.engine.answers:break_at_start"
TAGS = tuple(f"v{number}" for number in range(20))


def make(settings: Settings, keyring: object) -> Runner:
    """`keyring` is a folder that records what has happened once."""
    once = Path(str(keyring))

    def first(name: str) -> bool:
        try:
            (once / name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def run(task: Task, _moved: Callable[[int], None], _kept: object) -> Outcome:
        if isinstance(task, HeadManifests) and task.source is not None:
            tag = task.source.name
            if tag == "die" or (tag.startswith("die-once") and first(tag)):
                os.kill(os.getpid(), signal.SIGKILL)
            if tag == "stop" and first(tag):
                os.kill(os.getpid(), signal.SIGSTOP)
                threading.Event().wait()
        return answer(task)

    return run


def break_at_start(_settings: Settings, _keyring: object) -> Runner:
    """A runner whose maker fails."""
    raise RuntimeError("no certificates here")


def answer(task: Task) -> Outcome:
    """The correct answer."""
    content = image("one")
    match task:
        case ListTags(side="destination"):
            return TagsListed(key=task.key, tags=(), missing=True)
        case ListTags():
            return TagsListed(key=task.key, tags=TAGS)
        case ListDigests():
            return DigestsListed(key=task.key, page=None)
        case ListRepositories():
            return RepositoriesListed(key=task.key, page=RepositoryPage(paths=()))
        case HeadManifests():
            kind = json.loads(content)["mediaType"]
            found = ManifestHead(digest=digest(content), media_type=kind)
            return ManifestsHeaded(
                key=task.key, source=found, destinations=tuple(None for _ in task.destinations)
            )
        case FetchManifest():
            return ManifestFetched(key=task.key, manifest=manifest(content))
        case ListReferrers():
            return ReferrersListed(key=task.key, referrers=(), api=False)
        case CopyBlob():
            return BlobCopied(key=task.key, how="uploaded")
        case PushManifest():
            return ManifestPushed(key=task.key)
