"""The result of an image: its row in the records, its line in the log, its figures."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, TypedDict

from pipeline.log import event_of, fault_fields
from pipeline.model import faults
from pipeline.model.facts import ImageRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.errors import Fault
    from pipeline.log import Value
    from pipeline.model.facts import Result
    from pipeline.model.tree import Plan
    from pipeline.scheduler.image import Image
    from pipeline.scheduler.order import Order
    from pipeline.scheduler.shared_state import SharedState
    from pipeline.settings import Aim

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
"""Codes of a destination that does not show yet what it has accepted."""
_SETTLING = 2.5
"""Seconds that such a destination gets before the next pass begins."""

_FOUND: Mapping[Aim, str] = {"copy": "image.done", "plan": "image.to_copy", "verify": "image.verified"}
"""By aim: the event of an image that this run has copied, would copy, or has verified."""


class _Cause(TypedDict, total=False):
    retryable: bool
    side: str
    registry: str
    status: int
    code: str
    hint: str


class ImageResults:
    """Writes the result of each image.

    Args:
        state: what all parts share.
        order: the rules, of which some wait for the end of images.
    """

    def __init__(self, state: SharedState, *, order: Order) -> None:
        """See the class."""
        self._state = state
        self._figures = state.figures
        self._order = order
        self.rests_until = 0.0
        """The next pass begins no sooner."""

    def end(
        self, image: Image, result: Result, *, digest: str = "", reason: str = "", fault: Fault | None = None
    ) -> None:
        """Write the row, count, and log the one canonical line of the image."""
        writer = self._order.who_brings(image.rule, fault) if fault and self._state.aim == "plan" else ""
        if writer:
            result, fault, reason = "skipped", None, f"its source comes with {writer}, and is not there yet"
        why = str(fault) if fault else reason
        self._state.facts.write(self._row(image, result, digest=digest, why=why, fault=fault))
        if fault is not None and fault.retryable and self._state.may_retry(image.options):
            self._figures.to_retry += 1
            if fault.side == "destination" and (
                fault.code in _UNSEEN or fault.status == HTTPStatus.NOT_FOUND
            ):
                self.rests_until = self._state.now + _SETTLING
            fields, facts = self._state.failure(self._order.rules[image.rule], fault, again=True)
            self._say(image, "image.retry", fields, **facts)
            return
        setattr(self._figures, result, getattr(self._figures, result) + 1)
        if result in ("copied", "unchanged"):
            self._figures.companions_missing += image.companions_owed
        self._figures.optional += result == "failed" and image.options.optional
        self._order.ended(image.rule)
        how = image.how if result == "unchanged" else ""
        shown = digest or (image.source_digest if result == "copied" else "")  # it needs no tag there
        fields, facts = {}, {}
        if fault is not None:
            fields, facts = self._state.failure(self._order.rules[image.rule], fault, again=False)
        fields |= {"digest": shown or None, "how": how or None, "reason": reason or None}
        if result in ("copied", "unchanged"):
            fields["companions"] = image.companions or None
        facts |= {
            "aim": self._state.aim,
            "processed": self._figures.processed,
            "known": self._figures.known,
        }
        self._say(image, _event_name(self._state.aim, result), fields, **facts)

    def _row(self, image: Image, result: Result, *, digest: str, why: str, fault: Fault | None) -> ImageRow:
        return ImageRow(
            source=str(image.source),
            destination=str(image.destination),
            filter=str(image.options.pruning),
            run=self._state.run,
            rule=image.rule,
            result=result,
            source_digest=image.source_digest,
            destination_digest=digest,
            fault=why,
            companions_owed=image.companions_owed,
            **_cause(fault),
        )

    def planned(self, image: Image, plan: Plan) -> None:
        """Log what an image consists of."""
        if not self._state.debug:
            return
        blobs = {blob.digest: blob for manifest in plan.manifests for blob in manifest.blobs}
        size = sum(max(0, blob.size) for blob in blobs.values())
        event = event_of(
            "image.planned",
            {
                "source": str(image.source),
                "destination": str(image.destination),
                "manifests": len(plan.manifests),
                "blobs": len(blobs),
                "bytes": size,
            },
            stage="resolve",
        )
        self._state.events.append(event)

    def changed(self, image: Image, plan: Plan, digest: str) -> None:
        """Log why an image has another digest than at the source, if it has; empty: it needs no tag."""
        fields: dict[str, Value] = {"old_digest": plan.original, "digest": digest}
        if not digest:
            return
        if plan.dropped and digest != plan.original:
            self._say(image, "image.rewritten", {**fields, "dropped": plan.dropped})
        elif image.is_shared and digest != image.source_digest:
            self._say(image, "image.joined", {**fields, "old_digest": image.source_digest})

    def count_companion(self, image: Image) -> None:
        """Count a companion that was stored for an image."""
        image.companions += 1
        self._figures.companions += 1

    def lost_companions(self, image: Image, fault: Fault) -> None:
        """Log that companions of an image are missing, which is not its failure.

        The row says so before the tag is pushed: once the tags are equal, nothing else would.
        """
        row = self._state.facts.image(
            str(image.source), str(image.destination), str(image.options.pruning)
        ) or replace(self._row(image, "failed", digest="", why=str(fault), fault=fault), run="")
        self._state.facts.write(replace(row, companions_owed=image.companions_owed))
        fields: dict[str, Value] = {**fault_fields(fault), "companions": image.companions_owed}
        self._say(image, "image.companions_missing", fields, fault=fault, count=image.companions_owed)

    def conflict(self, image: Image, *, retryable: bool = False) -> Fault:
        """The fault of an image whose destination is written for an earlier rule."""
        first = self._state.facts.claim(str(image.destination))
        rule = self._order.rules[image.rule]
        winner = self._order.rules.get(first.rule, rule) if first is not None else rule
        return faults.conflict(
            image.destination,
            places=(rule.place,) if winner is rule else (rule.place, winner.place),
            winner=image.rival.partition(" -> ")[0],
            retryable=retryable,
        )

    def _say(self, image: Image, name: str, fields: Mapping[str, Value], **facts: object) -> None:
        cost: dict[str, Value] = {
            "bytes": image.bytes,
            "requests": image.requests,
            "duration": round(self._state.now - image.began, 3),
            **{f"blobs_{how}": count for how, count in sorted(image.blobs.items())},
        }
        both: dict[str, Value] = {"source": str(image.source), "destination": str(image.destination)}
        self._state.events.append(
            event_of(
                name,
                {**both, **fields, **cost},
                facts=facts,
                stage="transfer" if image.state == "copying" else "resolve",
            )
        )
        self._state.history.tell(self._state.now, image.key, name)


def _event_name(aim: Aim, result: Result) -> str:
    """The event of an image's result; a verification has verified it, not copied."""
    if result == "copied" or (result == "unchanged" and aim == "verify"):
        return _FOUND[aim]
    return f"image.{result}"


def _cause(fault: Fault | None) -> _Cause:
    """The fields of the row about a fault, besides its line."""
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
