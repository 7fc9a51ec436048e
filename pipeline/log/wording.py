"""The sentences of events that are emitted as facts: made only when a line is written or shown.

A run's lines of images have the original tool's wording, which people grep for, and ours where it has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.log.event import Event

    EventFacts = Mapping[str, Any]
    """Fields of the event, and facts that only its sentence needs."""

_FAILED = {
    "copy": "Failed to executed synchronizing manifest",
    "plan": "Would fail to synchronize manifest",
    "verify": "Found incomplete manifest",
}
"""By aim of the run."""


def sentence(event: Event) -> str:
    """The sentence of an event: its own message, or the one made from its facts."""
    if event.facts is None:
        return event.message
    known = {**event.fields, **event.facts}
    words = _SENTENCES[event.name]
    return words.format_map(known) if isinstance(words, str) else words(known)


def _image(words: str) -> Callable[[EventFacts], str]:
    """The line of a finished image; `why` is the fault, the reason, or how it is up to date."""
    line = f"{words} Now {{processed}}/{{known}} tasks have been processed."

    def say(facts: EventFacts) -> str:
        why = facts.get("how") or facts.get("reason")
        both = f"from {facts['source']} to {facts['destination']}"
        return line.format_map({**facts, "from_to": both, "why": why, "how": f" ({why})" if why else ""})

    return say


def _image_failed(facts: EventFacts) -> str:
    say = _image(_FAILED[facts["aim"]] + " {from_to}: {failed}.")
    return say({**facts, "failed": _failed(facts)})


def _failed(facts: EventFacts) -> str:
    """The fault, what to do about it, and which attempt it was, of which rule.

    What is retried may help itself: there only advice that the fault itself has is given.
    """
    fault, attempt = facts["fault"], f"attempt {facts['attempt']}"
    advice = f"; what to do: {facts['advice']}" if facts["advice"] else ""
    if facts["again"]:
        ended = f"{attempt} of {facts['attempts']} failed, retrying {facts['waits']}"
    elif fault.retryable:
        ended = f"{attempt} of {facts['attempts']} failed"
    else:
        ended = f"{attempt} failed, not retried"
    return f"{fault.line}{advice}; {facts['place']}, {ended}"


def _rule_failed(facts: EventFacts) -> str:
    return f"rule {facts['rule']}: {_failed(facts)}"


def _cooldown(facts: EventFacts) -> str:
    status, hint = facts["status"], f"; {facts['hint']}" if facts["hint"] else ""
    if facts["troubled"]:
        what = f"returns only server errors ({status or facts['words']}{hint})"
    elif status:
        what = f"limits the rate ({status}{hint})"
    else:
        what = f"cannot be reached ({facts['words']}{hint})"
    return (
        f"{facts['registry']} {what}; next request in {facts['delay']:.0f}s; {facts['open']} images are open,"
        f" others continue; giving up in {facts['left']:.0f}s unless it accepts a request (--patience)"
    )


def _settled(facts: EventFacts) -> str:
    what = {"request": "short requests", "blob": "small blobs", "body": "large blobs"}[facts["kind"]]
    limit, tried = facts["limit"], facts["tried"]
    why = "the maximum" if tried == limit else f"{tried} were {facts['gain']:.1f} times as fast"
    return f"{facts['registry']}: {limit} {what} at a time; {why}"


def _mirror_left(facts: EventFacts) -> str:
    lasts = f"for {facts['delay']:.0f}s" if facts["again"] else "for this repository in this run"
    return f"mirror {facts['registry']} is not used {lasts}: {facts['fault']}"


_SENTENCES: Mapping[str, str | Callable[[EventFacts], str]] = {
    "image.planned": "{source} -> {destination}: {manifests} manifests, {blobs} blobs, {bytes} bytes",
    "image.done": _image("Finish synchronizing manifest {from_to}."),
    "image.to_copy": _image("Would synchronize manifest {from_to}."),
    "image.unchanged": _image("Skip synchronizing manifest {from_to}: up to date{how}."),
    "image.verified": _image("Verified manifest {from_to}: complete{how}."),
    "image.skipped": _image("Skip synchronizing manifest {from_to}: {why}."),
    "image.kept": _image("Skip synchronizing manifest {from_to}: the tag is there, and is kept."),
    "image.held": _image("Skip synchronizing manifest {from_to} for now: {why}."),
    "run.quarantine": "{held} images were held and none was seen before: the quarantine of min_age begins"
    " with this run. Keep --records from run to run, or use --trust-existing",
    "image.failed": _image_failed,
    "image.retry": lambda facts: f"{facts['source']} to {facts['destination']}: {_failed(facts)}",
    "image.rewritten": "{destination}: the platform filter removed {dropped} entries,"
    " the digest changed from {old_digest} to {digest}",
    "image.companions_missing": "{destination}: {count} of its signatures, SBOMs and other artifacts"
    " are missing, and the next run looks for them: {fault}",
    "image.joined": "{destination}: holds the entries of the source's {old_digest}"
    " and its own earlier ones; its digest is {digest}",
    "rule.expanded": lambda facts: (
        "rule {rule}: {selected} of {tags} tags".format_map(facts)
        + ("" if facts["selected"] else ": nothing to copy")
        + (
            "; {unordered} have no number to order them by".format_map(facts)
            if facts.get("unordered")
            else ""
        )
    ),
    "rule.listed": lambda facts: (
        "rule {rule}: {repositories} repositories, by the catalogue {catalogue}{left_out}".format_map(facts)
        + (f", {facts['apart']} have rules of their own" if facts["apart"] else "")
    ),
    "rule.gone": "rule {rule}: listed but missing: {reason}",
    "listing.unused": "tags are compared one by one, since no listing tells their digests: {fault}",
    "rule.failed": _rule_failed,
    "rule.retry": _rule_failed,
    "rule.after": "rule {rule} ({place}) starts when {writer} is finished, which writes to its source",
    "rule.too_early": "rule {rule} ({place}) reads what {writer} writes, but comes before it: it copies what"
    " exists before; move it below that rule if it needs the result",
    "tags.twins": "{destination}: the tags {twins} differ only in case: a registry may treat them as one tag",
    "registry.cooldown": _cooldown,
    "registry.reserved": "{registry} has {pulls:,} pulls left, {kept:,} are for others (reserve): manifests"
    " wait, next check in {delay:.0f}s; {open} images are open, what needs no pull continues; giving up in"
    " {left:.0f}s (--patience)",
    "registry.recovered": "{registry} accepts requests again after {duration:.0f}s;"
    " {limit} requests at a time",
    "registry.settled": _settled,
    "mirror.left": _mirror_left,
    "registry.mount_refused": "{registry} does not mount blobs from other repositories: each is sent to every"
    " repository that needs it",
    "blob.done": "{destination}: the blob {blob} is {how}",
}
"""By name of the event."""
