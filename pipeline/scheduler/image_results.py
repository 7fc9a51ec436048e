"""What is said and written when an image ends: the row for the records, the line for the log, the figures."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, TypedDict

from pipeline.errors import Fault
from pipeline.log import Event, fault_fields
from pipeline.model.facts import ImageRow
from pipeline.scheduler.wording import LINES, sentence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.errors import Side
    from pipeline.log import Level, Value
    from pipeline.model.facts import Result
    from pipeline.model.figures import Figures
    from pipeline.model.platform import Filter
    from pipeline.model.tree import Plan
    from pipeline.scheduler.image import Image
    from pipeline.scheduler.order import Order
    from pipeline.scheduler.shared_state import SharedState

LATER = "after all others"
"""When what failed and may succeed is tried again."""
_UNSEEN = frozenset(
    {
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_MISMATCH",
        "LAYERS_NOT_FOUND",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_UNKNOWN",
        "NAME_UNKNOWN",
    }
)
"""Codes by which a destination says that it does not see yet what it has taken."""
_SETTLING = 2.5
"""Seconds that such a destination gets to see it before another pass begins."""


class _Cause(TypedDict, total=False):
    retryable: bool
    side: str
    registry: str
    status: int
    code: str
    hint: str


class ImageResults:
    """Writes the end of each image.

    Args:
        desk: the common desk.
        figures: the run's figures.
        platforms: the run's filter; its text is part of a row's key.
        order: the rules, of which some wait for the end of images.
    """

    def __init__(self, state: SharedState, figures: Figures, *, platforms: Filter, order: Order) -> None:
        """See the class."""
        self._state = state
        self._figures = figures
        self._filter = str(platforms)
        self._order = order
        self.may_retry = True
        """Whether another pass follows in which an image may be tried again."""
        self.attempt = 1
        """Which pass this is."""
        self.rests_until = 0.0
        """Before then no further pass begins."""

    def end(self, image: Image, result: Result, *, digest: str, reason: str, fault: Fault | None) -> None:
        """Write the row, count, and say the one canonical line of the image."""
        self._state.facts.write(
            ImageRow(
                source=str(image.source),
                destination=str(image.destination),
                filter=self._filter,
                run=self._state.run,
                rule=image.rule,
                result=result,
                source_digest=image.source_digest,
                destination_digest=digest,
                fault=str(fault) if fault else reason,
                **_cause(fault),
            )
        )
        if fault is not None and fault.retryable and self.may_retry:
            self._figures.to_retry += 1
            if fault.side == "destination" and (
                fault.code in _UNSEEN or fault.status == HTTPStatus.NOT_FOUND
            ):
                self.rests_until = self._state.now + _SETTLING
            words = f"{image.source} to {image.destination}: {fault}; try {self.attempt}, tried again {LATER}"
            tries: dict[str, Value] = {"attempt": self.attempt, "again": True, "waits": LATER}
            self._say(image, "image.retry", words, level="warning", fields={**fault_fields(fault), **tries})
            return
        setattr(self._figures, result, getattr(self._figures, result) + 1)
        self._order.ended(image.rule)
        name, level, _ = LINES[self._state.aim][result]
        how = image.how if result == "unchanged" else ""
        fields: dict[str, Value] = {"digest": digest or None, "how": how or None, "reason": reason or None}
        if fault is not None:
            fields |= {**fault_fields(fault), "attempt": self.attempt, "again": False}
        self._say(image, name, self._sentence(image, result, reason, fault), level=level, fields=fields)

    def _sentence(self, image: Image, result: Result, reason: str, fault: Fault | None) -> str:
        """The image's line, and how far the run is."""
        pair = f"{image.source} to {image.destination}"
        why = f"{fault}; try {self.attempt}, not tried again" if fault else reason or image.how
        so_far = f"Now {self._figures.processed}/{self._figures.known} tasks have been processed."
        return f"{sentence(self._state.aim, result, pair=pair, why=why)} {so_far}"

    def planned(self, image: Image, plan: Plan) -> None:
        """Say what an image consists of."""
        blobs = {blob.digest: blob for manifest in plan.manifests for blob in manifest.blobs}
        size = sum(max(0, blob.size) for blob in blobs.values())
        words = f"{image.key}: {len(plan.manifests)} manifests, {len(blobs)} blobs, {size} bytes"
        fields: dict[str, Value] = {
            "source": str(image.source),
            "destination": str(image.destination),
            "manifests": len(plan.manifests),
            "blobs": len(blobs),
            "bytes": size,
        }
        event = Event(name="image.planned", message=words, level="debug", fields=fields, stage="resolve")
        self._state.events.append(event)

    def rewritten(self, image: Image, plan: Plan, digest: str) -> None:
        """Say that a filter has given the index a new digest: signatures of the old one do not apply."""
        words = (
            f"{image.destination}: the platform filter left {plan.dropped} entries out,"
            f" the digest changed from {plan.original} to {digest}"
        )
        fields: dict[str, Value] = {"old_digest": plan.original, "digest": digest, "dropped": plan.dropped}
        self._say(image, "image.rewritten", words, level="warning", fields=fields)

    def joined(self, image: Image, digest: str) -> None:
        """Say that a shared tag now holds both sides' entries, and so has a digest of its own."""
        words = (
            f"{image.destination}: holds the entries of the source's {image.source_digest}"
            f" and of what was there; its digest is {digest}"
        )
        fields: dict[str, Value] = {"old_digest": image.source_digest, "digest": digest}
        self._say(image, "image.joined", words, level="info", fields=fields)

    def conflict(self, image: Image, *, retryable: bool = False) -> Fault:
        """Two sources for one destination: the rule that stands first wins."""
        first = self._state.facts.claim(str(image.destination))
        place, other = self._order.rules[image.rule].line, first.line if first else 0
        if first is not None and first.rule == image.rule:
            by = f"the rule of {f'line {place}' if place else 'the command line'} gives it two sources"
        else:
            which = f"line {place} and line {other}" if other != place else f"both of line {place}"
            by = f"two rules give it a source ({which})"
        return Fault(
            operation=f"write {image.destination}",
            side="destination",
            registry=image.destination.repository.registry,
            repository=image.destination.repository.path,
            code="TAG_CONFLICT",
            words=f"{by}; the first one wins, with {image.rival.split(' -> ')[0]}",
            retryable=retryable,
            hint="give one of them another tag",
        )

    def _say(
        self, image: Image, name: str, message: str, *, level: Level, fields: Mapping[str, Value]
    ) -> None:
        cost: dict[str, Value] = {
            "bytes": image.bytes,
            "requests": image.requests,
            "duration": round(self._state.now - image.began, 3),
            **{f"blobs_{how}": count for how, count in sorted(image.blobs.items())},
        }
        both: dict[str, Value] = {"source": str(image.source), "destination": str(image.destination)}
        self._state.events.append(
            Event(
                name=name,
                message=message,
                level=level,
                fields={**both, **fields, **cost},
                stage="transfer" if image.state == "moving" else "resolve",
            )
        )
        self._state.history.tell(self._state.now, image.key, message)


def _cause(fault: Fault | None) -> _Cause:
    """What the row keeps of a fault beside its line."""
    if fault is None:
        return {}
    return {
        "retryable": fault.retryable,
        "side": fault.side,
        "registry": fault.registry,
        "status": fault.status or 0,
        "code": fault.code,
        "hint": fault.hint,
    }


def unreadable(image: Image, words: str) -> Fault:
    """The source's manifests cannot be taken apart, or are refused for their size or depth."""
    return Fault(
        operation=f"use the manifest {image.source_digest}",
        side="source",
        registry=image.source.repository.registry,
        repository=image.source.repository.path,
        code="MANIFEST_INVALID",
        words=words,
    )


def other_digest(image: Image, digest: str) -> Fault:
    """The destination requires a digest, and what would be stored there has another one."""
    side: Side
    if digest == image.source_digest:
        side, reference = "source", image.source
        words = f"{image.source} is {digest}, the rule requires {image.required} at {image.destination}"
        hint = "name the digest that the source has now, or leave it out at the destination"
    else:
        side, reference = "destination", image.destination
        words = f"the platform filter changes the index, which then is {digest}, not {image.required}"
        hint = "give the destination a tag without a digest, or leave the filter out"
    return Fault(
        operation=f"store {image.destination}",
        side=side,
        registry=reference.repository.registry,
        repository=reference.repository.path,
        code="DIGEST_CHANGED",
        words=words,
        hint=hint,
    )
