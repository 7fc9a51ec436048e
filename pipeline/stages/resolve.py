"""Stage 2: digests on both sides, and manifests by digest."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pipeline.errors import DigestMismatchError, Fault, ManifestError, RegistryError, ThrottledError
from pipeline.model.faults import fault_at, pulls_reserved
from pipeline.model.manifest import IMAGE_CONFIG_TYPES, config_platform, parse
from pipeline.model.messages import ManifestFetched, ManifestHead, ManifestsHeaded
from pipeline.model.reference import Reference
from pipeline.registry.meter import current_meter
from pipeline.settings import MAX_CONFIG, MAX_MANIFEST
from pipeline.stages.bodies import CheckedBlob, Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.errors import Side
    from pipeline.model.manifest import Descriptor, Manifest
    from pipeline.model.messages import FetchManifest, HeadManifests
    from pipeline.model.platform import Platform
    from pipeline.stages.context import StageContext

    HeadCall = Callable[[], ManifestHead | Fault | None]


def head_manifests(task: HeadManifests, context: StageContext) -> ManifestsHeaded:
    """HEAD the source and each destination; a fault of one side is part of the outcome.

    In parallel if a destination is slow; else one after the other, and no destination if the source is
    missing.

    Raises:
        ThrottledError: one of the registries limits the rate.
    """
    there: list[HeadCall] = [partial(_head, place, "destination", context) for place in task.destinations]
    if task.source is None:
        return ManifestsHeaded(key=task.key, source=None, destinations=tuple(ask() for ask in there))
    source: HeadCall = partial(_source, task.source, context, listed=task.listed)
    if any(context.parallel.is_slow(place.repository.registry) for place in task.destinations):
        found, *others = context.parallel.run([source, *there])
        return ManifestsHeaded(key=task.key, source=found, destinations=tuple(others))
    found = source()
    if isinstance(found, Fault):
        return ManifestsHeaded(key=task.key, source=found, destinations=tuple(None for _ in there))
    return ManifestsHeaded(key=task.key, source=found, destinations=tuple(ask() for ask in there))


def _source(reference: Reference, context: StageContext, *, listed: str) -> ManifestHead | Fault:
    if listed:
        return ManifestHead(digest=listed)
    found = _head(reference, "source", context)
    if isinstance(found, Fault):
        return found
    if found is None:
        return _source_fault(
            reference, "MANIFEST_UNKNOWN", f"no such {'digest' if reference.is_digest else 'tag'}"
        )
    if reference.is_digest and found.digest != reference.name:
        return _source_fault(reference, "DIGEST_MISMATCH", f"the registry answers with {found.digest}")
    return found


def _head(reference: Reference, side: Side, context: StageContext) -> ManifestHead | Fault | None:
    registry = reference.repository.registry
    store = context.stores.at(registry, push=side == "destination")
    sure = side == "source"
    try:
        return context.parallel.timed(registry, lambda: store.head_manifest(reference, sure=sure))
    except RegistryError as error:
        return error.fault


def _source_fault(source: Reference, code: str, words: str) -> Fault:
    return fault_at(
        source.repository,
        "source",
        operation=f"read the manifest {source.name}",
        status=404 if code == "MANIFEST_UNKNOWN" else None,
        code=code,
        words=words,
    )


def fetch_manifest(task: FetchManifest, context: StageContext) -> ManifestFetched:
    """GET one manifest by digest, check the digest and parse it; with its platform if the task asks for it.

    A manifest with a wrong digest is fetched once more, on a new connection.

    Raises:
        RegistryError: it cannot be fetched, is not a manifest, or does not match its digest.
    """
    if task.reserve >= 0:
        _leave_reserve(task, context)
    try:
        try:
            manifest = _get(task, context, fresh=False)
        except DigestMismatchError:
            if task.mirror is not None:
                raise
            manifest = _get(task, context, fresh=True)
        if task.config and manifest.platform is None and manifest.kind == "image":
            manifest = replace(manifest, platform=_platform(task, manifest.blobs, context))
    except ManifestError as error:
        wrong = "DIGEST_MISMATCH" if isinstance(error, DigestMismatchError) else "MANIFEST_INVALID"
        raise RegistryError(_fault(task, code=wrong, words=str(error))) from error
    return ManifestFetched(key=task.key, manifest=manifest)


def _leave_reserve(task: FetchManifest, context: StageContext) -> None:
    """Check how many pulls are left.

    Raises:
        ThrottledError: all remaining ones are left to others.
    """
    context.read_store(task).head_manifest(Reference(task.read_from, task.digest))
    left = current_meter().pulls_left.get(task.read_from.registry)
    if left is not None and left <= task.reserve:
        fault = pulls_reserved(task.read_from, task.digest, left=left, reserve=task.reserve)
        raise ThrottledError(fault, delay=0.0)


def _get(task: FetchManifest, context: StageContext, *, fresh: bool) -> Manifest:
    reference = Reference(task.read_from, task.digest)
    content, content_type = context.read_store(task).get_manifest(reference, limit=MAX_MANIFEST, fresh=fresh)
    if task.mirror is None:
        return parse(content, content_type, task.digest)
    manifest = parse(content, "", task.digest)  # the digest does not cover a mirror's media type
    if manifest.kind == "schema1":
        raise ManifestError("a mirror's signatures of a docker schema 1 manifest cannot be checked")
    return manifest


def _fault(task: FetchManifest, *, code: str, words: str) -> Fault:
    operation = f"read the manifest {task.digest}"
    return fault_at(task.read_from, task.side, operation=operation, code=code, words=words)


def _platform(task: FetchManifest, blobs: tuple[Descriptor, ...], context: StageContext) -> Platform | None:
    """The platform in a single image's config; artifacts have none."""
    config = next((blob for blob in blobs if blob.media_type in IMAGE_CONFIG_TYPES), None)
    if config is None:
        return None
    if config.size > MAX_CONFIG:
        words = f"its config has {config.size} bytes, the limit is {MAX_CONFIG}"
        raise RegistryError(_fault(task, code="TOO_LARGE", words=words))
    store = context.read_store(task)
    with store.open_blob(task.read_from, config.digest, size=config.size) as body:
        checked = CheckedBlob(
            body,
            blob=config,
            size=config.size,
            begin=Checkpoint.start(config.digest),
            source=task.read_from,
        )
        return config_platform(b"".join(map(bytes, checked.read(config.size))))
