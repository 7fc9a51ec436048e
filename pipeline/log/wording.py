"""The sentences of the scheduler's events and faults: it gives what happened as data, and is told the words.

A run's lines of images have the original tool's wording, which people grep for, with ours where it has none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict, Unpack

from pipeline.errors import Fault
from pipeline.log.event import Event, fault_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.errors import Side
    from pipeline.log.event import Level, Value

LATER = "after all others"
"""When what failed and may succeed is tried again."""

FORCE = "run again with --force to copy it"
"""What to do about an image that is not as it should be."""
_Line = tuple[str, "Level", str]
_UP_TO_DATE: _Line = ("image.unchanged", "info", "Skip synchronizing manifest from {pair}: up to date{why}.")
_SKIPPED: _Line = ("image.skipped", "info", "Skip synchronizing manifest from {pair}: {why}.")
_FAILED = "image.failed"

LINES: Mapping[str, Mapping[str, _Line]] = {
    "copy": {
        "copied": ("image.done", "info", "Finish synchronizing manifest from {pair}."),
        "unchanged": _UP_TO_DATE,
        "skipped": _SKIPPED,
        "failed": (_FAILED, "error", "Failed to executed synchronizing manifest from {pair}: {why}."),
    },
    "plan": {
        "copied": ("image.to_copy", "info", "Would synchronize manifest from {pair}."),
        "unchanged": _UP_TO_DATE,
        "skipped": _SKIPPED,
        "failed": (_FAILED, "error", "Would fail to synchronize manifest from {pair}: {why}."),
    },
    "verify": {
        "copied": ("image.verified", "info", "Verified manifest from {pair}."),
        "unchanged": ("image.verified", "info", "Verified manifest from {pair}: complete{why}."),
        "skipped": _SKIPPED,
        "failed": (_FAILED, "error", "Found incomplete manifest from {pair}: {why}."),
    },
}
"""By aim and result: the event's name, its level, its sentence."""


class Place(TypedDict):
    """Where a fault is."""

    side: Side
    registry: str
    repository: str


# Images


def image_line(aim: str, result: str, *, pair: str, why: str, processed: int, known: int) -> str:
    """The one line of an image, and how far the run is; `why` is in brackets where it is up to date."""
    if result == "unchanged":
        why = f" ({why})" if why else ""
    line = LINES[aim][result][2].format(pair=pair, why=why)
    return f"{line} Now {processed}/{known} tasks have been processed."


def given_up(fault: Fault, attempt: int) -> str:
    """Why an image failed for good."""
    return f"{fault}; try {attempt}, not tried again"


def image_retry(pair: str, fault: Fault, attempt: int) -> str:
    """An image failed, and is tried again."""
    return f"{pair}: {fault}; try {attempt}, tried again {LATER}"


def rewritten(destination: str, *, dropped: int, old: str, new: str) -> str:
    """A filter has given the index a new digest: signatures of the old one do not apply."""
    return (
        f"{destination}: the platform filter left {dropped} entries out,"
        f" the digest changed from {old} to {new}"
    )


def joined(destination: str, *, source: str, digest: str) -> str:
    """A shared tag holds both sides' entries, and so has a digest of its own."""
    return (
        f"{destination}: holds the entries of the source's {source}"
        f" and of what was there; its digest is {digest}"
    )


def planned(key: str, *, manifests: int, blobs: int, size: int) -> Event:
    """What an image consists of."""
    source, _, destination = key.partition(" -> ")
    return Event(
        name="image.planned",
        message=f"{key}: {manifests} manifests, {blobs} blobs, {size} bytes",
        level="debug",
        fields={
            "source": source,
            "destination": destination,
            "manifests": manifests,
            "blobs": blobs,
            "bytes": size,
        },
        stage="resolve",
    )


def unreadable(digest: str, words: str, **place: Unpack[Place]) -> Fault:
    """The source's manifests cannot be taken apart, or are refused for their size or depth."""
    return Fault(operation=f"use the manifest {digest}", code="MANIFEST_INVALID", words=words, **place)


def other_digest(
    source: str, destination: str, *, digest: str, required: str, **place: Unpack[Place]
) -> Fault:
    """The destination requires a digest; the source has another, or (empty) the filter makes it another."""
    if source:
        words = f"{source} is {digest}, the rule requires {required} at {destination}"
        hint = "name the digest that the source has now, or leave it out at the destination"
    else:
        words = f"the platform filter changes the index, which then is {digest}, not {required}"
        hint = "give the destination a tag without a digest, or leave the filter out"
    return Fault(operation=f"store {destination}", code="DIGEST_CHANGED", words=words, hint=hint, **place)


def conflict(
    destination: str, *, lines: tuple[int, int] | int, winner: str, retryable: bool, **place: Unpack[Place]
) -> Fault:
    """Two sources for one destination, by one rule (its line; 0: no file) or by two (their lines)."""
    if isinstance(lines, int):
        by = f"the rule of {f'line {lines}' if lines else 'the command line'} gives it two sources"
    else:
        line, other = lines
        which = f"line {line} and line {other}" if other != line else f"both of line {line}"
        by = f"two rules give it a source ({which})"
    return Fault(
        operation=f"write {destination}",
        code="TAG_CONFLICT",
        words=f"{by}; the first one wins, with {winner}",
        retryable=retryable,
        hint="give one of them another tag",
        **place,
    )


def unjoined(destination: str, words: str, **place: Unpack[Place]) -> Fault:
    """A shared tag is left as it is."""
    return Fault(
        operation=f"store {destination}",
        code="NOT_JOINED",
        words=f"the destination's entries cannot be joined with the source's: {words}",
        hint="copy to another tag, or delete the destination's tag if nobody needs it",
        **place,
    )


def incomplete(
    name: str, *, code: str, words: str, status: int | None = None, **place: Unpack[Place]
) -> Fault:
    """A verification did not find the image as it should be."""
    return Fault(
        operation=f"find the image {name}", status=status, code=code, words=words, hint=FORCE, **place
    )


# Tags


def rule_failed(rule: str, place: str, fault: Fault, *, line: int, attempt: int, again: bool) -> Event:
    """The tags of a rule could not be listed."""
    tried = f"tried again {LATER}" if again else "not tried again"
    return Event(
        name="rule.retry" if again else "rule.failed",
        message=f"rule {rule} ({place}): {fault}; try {attempt}, {tried}",
        level="warning" if again else "error",
        fields={
            "rule": rule,
            "line": line,
            **fault_fields(fault),
            "attempt": attempt,
            "again": again,
            "waits": LATER if again else None,
        },
        stage="expand",
    )


def rule_expanded(rule: str, *, tags: int, selected: int) -> Event:
    """A rule has been expanded to its end."""
    return Event(
        name="rule.expanded",
        message=f"rule {rule}: {selected} of {tags} tags" + ("" if selected else ": nothing to copy"),
        level="info" if selected else "warning",
        fields={"rule": rule, "tags": tags, "selected": selected},
        stage="expand",
    )


def rule_after(rule: str, place: str, writer: str, *, lines: tuple[int, int]) -> Event:
    """A rule begins after the one that writes what it reads; `lines` are theirs."""
    return Event(
        name="rule.after",
        message=f"rule {rule} ({place}) begins after {writer} has ended, which writes to it",
        fields={"rule": rule, "line": lines[0], "other_line": lines[1]},
        stage="expand",
    )


def rule_too_early(rule: str, place: str, writer: str, *, lines: tuple[int, int]) -> Event:
    """A rule reads what a later one writes; `lines` are theirs."""
    return Event(
        name="rule.too_early",
        message=f"rule {rule} ({place}) reads what {writer} writes, which stands below it: it takes what is"
        " there before; put it below where that is not meant",
        level="warning",
        fields={"rule": rule, "line": lines[0], "other_line": lines[1]},
        stage="expand",
    )


def untrusted_list(words: str, **place: Unpack[Place]) -> Fault:
    """A list of tags does not end as lists do."""
    return Fault(
        operation="list the tags",
        code="PAGINATION_INVALID",
        words=f"the list of tags {words}",
        hint="name the tags in the rule, or have the registry's operator look at its paging",
        **place,
    )


def twins(repository: str, names: Iterable[str]) -> Event:
    """Tags differ in case only."""
    both = ", ".join(names)
    words = f"{repository}: the tags {both} differ in case only: a registry may take them for one"
    fields: dict[str, Value] = {"destination": repository, "twins": both}
    return Event(name="tags.twins", message=words, level="warning", fields=fields, stage="expand")


def overwritten(name: str, *, stored: str, found: str, **place: Unpack[Place]) -> Fault:
    """A tag that was stored has another digest at the end of the run; `found` is empty: none."""
    now = f"it is {found} now" if found else "it is not there any more"
    return Fault(
        operation=f"find the image {name} again",
        code="TAG_OVERWRITTEN",
        words=f"{now}, and was stored as {stored}: another tag differs in case only",
        hint="the registry does not tell them apart: give one of them another tag",
        **place,
    )


# Registries


def cooldown(fault: Fault, *, troubled: bool, delay: float, limit: int, images: int, left: float) -> Event:
    """A registry pauses; `left`: seconds until it is given up."""
    why = f"{fault.status}" if fault.status else fault.words
    why += f"; {fault.hint}" if fault.hint else ""
    asks = "asks for a pause" if fault.status else "cannot be reached any more: a pause"
    if troubled:
        asks = "answers nothing but errors of its own: a pause"
    return Event(
        name="registry.cooldown",
        level="warning",
        message=f"{fault.registry} {asks} of {delay:.0f}s ({why}); {images} images are open, the others go"
        f" on; given up in {max(0.0, left):.0f}s unless it lets something through (--patience)",
        fields={
            **fault_fields(fault),
            "delay": round(delay, 1),
            "limit": limit,
            "open": images,
            "again": True,
        },
    )


def recovered(registry: str, *, paused: float, limit: int) -> Event:
    """A registry has let something through after a pause."""
    return Event(
        name="registry.recovered",
        message=f"{registry} answers again after {paused:.0f}s; {limit} requests at a time",
        fields={"registry": registry, "limit": limit, "duration": round(paused, 3)},
    )


def settled(registry: str, kind: str, *, limit: int, tried: int, gain: float, level: Level = "info") -> Event:
    """A registry's limit was found; `tried` is the same as `limit`: no more are allowed."""
    what = "short requests" if kind == "request" else "blobs"
    why = "no more are allowed" if tried == limit else f"{tried} were {gain:.1f} times as fast"
    return Event(
        name="registry.settled",
        level=level,
        message=f"{registry}: {limit} {what} at a time; {why}",
        fields={"registry": registry, "kind": kind, "limit": limit, "tried": tried},
    )


def mount_refused(registry: str) -> Event:
    """A registry does not mount."""
    return Event(
        name="registry.mount_refused",
        message=f"{registry} does not mount blobs from other repositories: each is sent to every repository"
        " that needs it",
        fields={"registry": registry},
    )


def patience_lost(why: Fault, waited: float, *, who: str = "it") -> Fault:
    """Why a wait ends: what the registry said last, or that it could not be reached any more."""
    again = "repeat the command later, or with a longer --patience"
    what = "has let nothing through" if who == "it" else "has been refused"
    return replace(
        why,
        words=f"{who} {what} for {waited:.0f}s: {why.words}",
        code=why.code or ("TOOMANYREQUESTS" if why.status else "UNREACHABLE"),
        retryable=True,
        hint=f"{why.hint}; {again}" if why.hint else again,
    )


def trouble_lasts(why: Fault, seconds: float) -> Fault:
    """Why a registry is given up that answers nothing but 5xx."""
    return replace(
        why,
        words=f"it has answered nothing but errors of its own for {seconds:.0f}s: {why.words}",
        hint="its operator finds the reason in its log; repeat the command when it works again",
    )


# Tasks


def blob_done(source: str, destination: str, *, blob: str, how: str, size: int, seconds: float) -> Event:
    """A blob is in place; `size` is -1: not known."""
    return Event(
        name="blob.done",
        message=f"{destination}: the blob {blob} is {how}",
        level="debug",
        fields={
            "source": source,
            "destination": destination,
            "blob": blob,
            "how": how,
            "bytes": size if size >= 0 else None,
            "duration": round(seconds, 3),
        },
        stage="transfer",
    )


def worker_died(task: str, reason: str) -> Fault:
    """A worker died that ran nothing but this task."""
    return Fault(operation=task, words=f"the worker died: {reason}", code="WORKER_DIED")


def wrong_answer(task: str, outcome: str) -> Fault:
    """A worker answered what does not fit its task."""
    return Fault(operation=task, words=f"a worker answered {outcome} to {task}")
