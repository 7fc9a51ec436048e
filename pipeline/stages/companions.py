"""Companions of a manifest: listed at the source, and merged into tags at the destination."""

from __future__ import annotations

import time
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING

from pipeline.errors import ManifestError, RegistryError
from pipeline.model.companions import is_fallback, join, subject
from pipeline.model.faults import FORCE_HINT, fault_at, not_joined
from pipeline.model.manifest import compute_digest, parse
from pipeline.model.messages import ManifestPushed, ReferrersListed
from pipeline.model.reference import Reference
from pipeline.registry.meter import current_meter, metering
from pipeline.settings import MAX_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.errors import Side
    from pipeline.model.manifest import Manifest
    from pipeline.model.messages import PushManifest
    from pipeline.model.reference import Repository
    from pipeline.model.referrers import ListReferrers, Referrer
    from pipeline.registry.image_store import ImageStore
    from pipeline.stages.context import StageContext

MAX_PAGES = 1_000
_MERGES = 3
"""Attempts to write a tag that another writer changes meanwhile."""
_LOOKS = (0.0, 1.0, 3.0, 5.0)
"""Seconds after a PUT at which the tag is read, until it shows the new content."""


def list_referrers(task: ListReferrers, context: StageContext) -> ReferrersListed:
    """List the companions of a manifest: by the API, by the fallback tag, and by cosign's tags.

    A registry that got the API later lists older referrers only under the fallback tag, so both count.

    Raises:
        RegistryError: the list cannot be read; ThrottledError: the registry limits the rate.
    """
    store = context.stores.at(task.repository.registry)
    listed = _pages(store, task.repository, task.digest) if task.api else None
    found = {each.digest: each for each in listed or ()}
    if task.fallback or (task.fallback is None and listed is None):
        tagged = store.tagged_referrers(task.repository, task.digest)
        found = {each.digest: each for each in tagged} | found
    heads = ((tag, store.head_manifest(Reference(task.repository, tag))) for tag in task.tags)
    return ReferrersListed(
        key=task.key,
        referrers=tuple(found.values()),
        tags=tuple((tag, head.digest) for tag, head in heads if head is not None),
        api=listed is not None if task.api else None,
    )


def _pages(
    store: ImageStore, repository: Repository, digest: str, *, side: Side = "source"
) -> list[Referrer] | None:
    """All artifacts that the API lists; None: there is no API."""
    found: list[Referrer] = []
    seen, page = set[str](), ""
    while page not in seen and len(seen) < MAX_PAGES:
        seen.add(page)
        answer = store.referrers(repository, digest, page=page)
        if answer is None:
            return None
        found += answer.referrers
        page = answer.next
        if not page:
            return found
    raise RegistryError(
        fault_at(
            repository,
            side,
            operation=f"list the referrers of {digest}",
            code="PAGINATION_INVALID",
            words="the list loops, or does not end",
        )
    )


def merge(task: PushManifest, store: ImageStore) -> ManifestPushed:
    """Add a manifest's entries to those of a tag.

    A destination with a referrers API that lists them all needs no fallback tag, and gets none. The tag is
    read again after each PUT, since another writer may have read it before. If the registry sends an entity
    tag, it refuses a PUT that would undo another one; the last attempt does not rely on that.

    Raises:
        RegistryError: it cannot be merged, or does not show what was put.
    """
    own, written, no_api = parse(task.content, task.media_type, task.digest), False, task.no_api
    for attempt in range(_MERGES):
        there, etag = _read(task, store)
        wanted = own if there is None else _joined(task, own, there)
        if wanted is there:
            return ManifestPushed(key=task.key, stored=written, no_api=no_api)
        if not attempt:
            listed = _is_listed(task, store, own)
            if listed:
                return ManifestPushed(key=task.key, stored=False)
            no_api = no_api or listed is None
        try:
            store.put_manifest(
                task.destination,
                wanted.content,
                media_type=wanted.media_type,
                digest=wanted.digest,
                only_if=etag if attempt < _MERGES - 1 else "",
            )
        except RegistryError as error:
            if not etag or error.fault.status != HTTPStatus.PRECONDITION_FAILED or attempt == _MERGES - 1:
                raise
            continue
        written = True
        if _soon(lambda: _holds(task, store, own)):
            return ManifestPushed(key=task.key, no_api=no_api)
    raise RegistryError(
        fault_at(
            task.destination.repository,
            "destination",
            operation=f"store {task.destination}",
            code="TAG_OVERWRITTEN",
            words="it does not hold the entries that were put: somebody else writes it, or it takes long",
            retryable=True,
        )
    )


def _read(task: PushManifest, store: ImageStore) -> tuple[Manifest | None, str]:
    """The tag's manifest, and its entity tag."""
    found = store.get_tag(task.destination, limit=MAX_MANIFEST)
    if found is None:
        return None, ""
    try:
        digest = compute_digest(found.content, found.media_type, "sha256")
        return parse(found.content, found.media_type, digest), found.etag
    except ManifestError as error:
        raise RegistryError(not_joined(task.destination, str(error))) from error


def _joined(task: PushManifest, own: Manifest, there: Manifest) -> Manifest:
    try:
        joined = join(own, there, task.destination.name)
    except ManifestError as error:
        raise RegistryError(not_joined(task.destination, str(error))) from error
    if joined is None:
        words = f"the destination's is not a list of referrers, but {there.media_type}"
        raise RegistryError(not_joined(task.destination, words))
    return joined


def _holds(task: PushManifest, store: ImageStore, own: Manifest) -> bool:
    """Whether the tag has all entries."""
    there, _ = _read(task, store)
    return there is not None and _joined(task, own, there) is there


def _soon(look: Callable[[], bool | None]) -> bool | None:
    """Whether a look finds what was written, which a registry may show late. None: it never will."""
    for before, now in pairwise((0.0, *_LOOKS)):
        time.sleep(now - before)
        found = look()
        if found is not False:
            return found
    return False


def check_merged(task: PushManifest, store: ImageStore) -> None:
    """Check that the destination lists all entries: under the tag, or by its API.

    Raises:
        RegistryError: COMPANIONS_MISSING: it does not.
    """
    own = parse(task.content, task.media_type, task.digest)
    there, _ = _read(task, store)
    if (there is None or _joined(task, own, there) is not there) and not _is_listed(task, store, own):
        raise RegistryError(
            fault_at(
                task.destination.repository,
                "destination",
                operation=f"find the entries of {task.destination.name}",
                status=None if there else HTTPStatus.NOT_FOUND,
                code="COMPANIONS_MISSING",
                words="some of the source's are not listed" if there else "they are not listed",
                hint=FORCE_HINT,
            )
        )


def _is_listed(task: PushManifest, store: ImageStore, own: Manifest) -> bool | None:
    """Whether the destination's API lists all entries of a fallback tag, now or soon; None: no API."""
    if not is_fallback(task.destination) or task.no_api:
        return False
    repository, digest = task.destination.repository, subject(task.destination.name)
    wanted = {entry.digest for entry in own.children}

    def look() -> bool | None:
        listed = _pages(store, repository, digest, side="destination")
        return None if listed is None else wanted <= {each.digest for each in listed}

    return _soon(look)


def plan_merge(task: PushManifest, store: ImageStore) -> bool:
    """Predict the cost of adding entries to a tag; whether it has to be written.

    In a run the answers to its pushes show whether the destination lists artifacts itself, so that request
    is not counted here.
    """
    own, meter = parse(task.content, task.media_type, task.digest), current_meter()
    registry = task.destination.repository.registry
    there, _ = _read(task, store)
    wanted = own if there is None else _joined(task, own, there)
    if wanted is there:
        return False
    if is_fallback(task.destination):
        with metering():
            if store.referrers(task.destination.repository, subject(task.destination.name)) is not None:
                return False
    meter.plan(registry, "PUT", status=201, what="manifest")
    meter.plan(registry, "GET", status=200, what="manifest")
    meter.written += len(wanted.content)
    meter.read += len(wanted.content)
    return True
