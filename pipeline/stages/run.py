"""Run a task: call its stage's function, and add costs and events to the outcome."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.errors import RegistryError, ThrottledError
from pipeline.model.budget import RUN
from pipeline.model.cost import Cost
from pipeline.model.listing_tasks import ListDigests, ListRepositories, ListTags
from pipeline.model.messages import (
    CopyBlob,
    FetchManifest,
    HeadManifests,
    PushManifest,
    TaskFailed,
    Throttled,
)
from pipeline.model.referrers import ListReferrers
from pipeline.model.registry_settings import RegistrySettings
from pipeline.registry.clients import Clients
from pipeline.registry.meter import metering
from pipeline.registry.pacing import PACER
from pipeline.stages import copy, plan, verify
from pipeline.stages.companions import list_referrers
from pipeline.stages.context import StageContext
from pipeline.stages.list_catalogue import list_digests, list_repositories
from pipeline.stages.list_tags import list_tags
from pipeline.stages.parallel import ParallelRequests
from pipeline.stages.resolve import fetch_manifest, head_manifests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.config.keyring import Keyring
    from pipeline.model.messages import Outcome, Task, UploadCheckpoint
    from pipeline.settings import Aim, Settings

    Runner = Callable[[Task, Callable[[int], None], Callable[[UploadCheckpoint | None], None]], Outcome]
    """Runs one task and returns its outcome; the callbacks get the bytes moved so far, and the confirmed part
    of an upload."""

    BlobStage = Callable[[CopyBlob, StageContext], Outcome]
    ManifestStage = Callable[[PushManifest, StageContext], Outcome]

_TRANSFER: Mapping[Aim, tuple[BlobStage, ManifestStage]] = {
    "copy": (copy.copy_blob, copy.push_manifest),
    "plan": (plan.copy_blob, plan.push_manifest),
    "verify": (verify.copy_blob, verify.push_manifest),
}
"""The functions for blobs and manifests: the only difference between run, plan and verification."""


def make_runner(settings: Settings, keyring: Keyring) -> Runner:
    """Build the function that runs a worker's tasks, on any of its threads.

    Args:
        settings: the run's.
        keyring: the credentials of registries.

    Returns:
        A function of a task, and of two callbacks: see StageContext.
    """
    PACER.restrict(RUN, RegistrySettings(bandwidth=settings.bandwidth))
    stores = Clients(settings, keyring.find, keyring.forget, keyring.settings)
    parallel = ParallelRequests()

    def run(
        task: Task,
        on_progress: Callable[[int], None],
        on_checkpoint: Callable[[UploadCheckpoint | None], None],
    ) -> Outcome:
        began = time.monotonic()
        with metering(timed=settings.timed, debug=settings.debug) as meter:
            context = StageContext(
                stores=stores,
                settings=settings,
                parallel=parallel,
                on_progress=on_progress,
                on_checkpoint=on_checkpoint,
            )
            outcome = _answer(task, context)
        cost = Cost(
            requests=tuple(meter.requests.items()),
            waited=tuple(meter.waited.items()),
            read=meter.read,
            written=meter.written,
            seconds=time.monotonic() - began,
            retries=tuple(meter.retries),
            pulls_left=tuple(meter.pulls_left.items()),
            asked=tuple(meter.asked),
            planned=meter.planned,
        )
        return replace(outcome, cost=cost, events=(*meter.events, *outcome.events))

    return run


def _answer(task: Task, context: StageContext) -> Outcome:
    copy_blob, push_manifest = _TRANSFER[context.settings.aim]
    try:
        match task:
            case ListTags():
                return list_tags(task, context)
            case ListDigests():
                return list_digests(task, context)
            case ListRepositories():
                return list_repositories(task, context)
            case HeadManifests():
                return head_manifests(task, context)
            case FetchManifest():
                return fetch_manifest(task, context)
            case ListReferrers():
                return list_referrers(task, context)
            case CopyBlob():
                return copy_blob(task, context)
            case PushManifest():
                return push_manifest(task, context)
    except ThrottledError as error:
        return Throttled(key=task.key, fault=error.fault, delay=error.delay, asked=error.asked)
    except RegistryError as error:
        return TaskFailed(key=task.key, fault=error.fault, refused=error.refused)
