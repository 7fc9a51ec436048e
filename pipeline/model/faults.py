"""The builder of faults, and the faults that this program finds by itself, with their words.

What a registry answers, and how a connection fails, becomes a fault in registry/faults.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pipeline.errors import Fault

ListTrouble = Literal["loops", "repeats", "endless"]

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.errors import Side
    from pipeline.model.reference import Reference, Repository

PULL_RESERVE = "PULL_RESERVE"
"""Code of a read that would take from the pulls that are left to others."""

FORCE_HINT = "run again with --force to copy it"
"""What to do about an image that is not as the records say."""
_AGAIN_HINT = "run again to copy it"
"""What to do about a tag that is missing or differs: any run sees that."""

_LIST_TROUBLES: Mapping[ListTrouble, str] = {
    "loops": "loops: a page links back to an earlier one",
    "repeats": "repeats itself: a page has no tag that the page before did not have",
    "endless": "does not end after {pages} pages",
}


def catalogue_needs_namespace(host: str, what: str) -> Fault:
    """The registry lists only the repositories of one namespace at a time."""
    return Fault(
        operation="list the repositories",
        words=f"it lists the repositories of {what}, not of the whole registry",
        registry=host,
        code="NAMESPACE_NEEDED",
        hint=f"write {what} in front of the first *",
    )


def no_catalogue(registry: str, words: str, hint: str) -> Fault:
    """A registry whose repositories this machine cannot list."""
    return Fault(
        operation="list the repositories",
        words=words,
        registry=registry,
        code="NO_CATALOGUE",
        hint=hint,
    )


def no_dates(repository: Repository, tag: str = "") -> Fault:
    """A rule depends on when tags were pushed, which the registry does not tell."""
    of = f" of the tag {tag}" if tag else " of tags"
    return fault_at(
        repository,
        "source",
        operation="select the tags by their dates",
        words=f"{repository.registry} tells no dates{of}",
        code="NO_DATES",
        hint="leave out tags.since and by: pushed, or name in the credentials file which catalog it has",
    )


def short_listing(registry: str, place: str, words: str) -> Fault:
    """A listing that may be incomplete is not used at all."""
    return Fault(
        operation="list what is there",
        words=f"the listing is not reliable: {words}",
        registry=registry,
        repository=place,
        code="LISTING_SHORT",
    )


def bad_destination(source: Repository, words: str) -> Fault:
    """A listed repository whose name makes no destination."""
    return fault_at(
        source,
        "source",
        operation="make its destination",
        words=words,
        code="NAME_INVALID",
        hint="leave it out with repositories: {exclude: ...}, or give it a rule of its own",
    )


def flattened(source: Repository, destination: Repository, first: str) -> Fault:
    """Two repositories of one pattern would be written to one."""
    return fault_at(
        source,
        "source",
        operation="copy the repository",
        words=f"{first} is written to {destination} already",
        code="TAG_CONFLICT",
        hint="keep the levels apart with {rest} or {flat} in the destination",
    )


def fault_at(
    repository: Repository | None,
    side: Side,
    *,
    operation: str,
    words: str,
    code: str,
    status: int | None = None,
    retryable: bool = False,
    hint: str = "",
    host: str = "",
) -> Fault:
    """A fault at a repository, or (None) of this machine; side "" if only the caller knows the side.

    `host` is the one asked, if it is not the registry.
    """
    return Fault(
        operation=operation,
        words=words,
        side=side,
        registry=repository.registry if repository else "",
        repository=repository.path if repository else "",
        status=status,
        code=code,
        retryable=retryable,
        hint=hint,
        host=host,
    )


# Images


def unreadable(source: Repository, digest: str, words: str) -> Fault:
    """The source's manifests cannot be parsed, or exceed the limits of size or depth."""
    return fault_at(
        source, "source", operation=f"use the manifest {digest}", code="MANIFEST_INVALID", words=words
    )


def sparse_refused(fault: Fault) -> Fault:
    """The destination refuses an index whose children it lacks."""
    return replace(
        fault, hint="the registry takes no index with missing children: use `index: trim` in the rule"
    )


def source_changed(source: Reference, destination: Reference, *, digest: str, required: str) -> Fault:
    """The destination requires a digest, and the source has another."""
    return fault_at(
        source.repository,
        "source",
        operation=f"store the manifest {destination.name}",
        code="DIGEST_CHANGED",
        words=f"{source} is {digest}, the rule requires {required} at {destination}",
        hint="name the source's present digest in the rule, or no digest at the destination",
    )


def filter_changes_digest(destination: Reference, *, digest: str, required: str) -> Fault:
    """The destination requires a digest, and the platform filter makes it another."""
    return fault_at(
        destination.repository,
        "destination",
        operation=f"store the manifest {destination.name}",
        code="DIGEST_CHANGED",
        words=f"the platform filter changes the index: its digest becomes {digest}, not {required}",
        hint="name a tag without a digest at the destination, or remove the filter",
    )


def conflict(destination: Reference, *, places: tuple[str, ...], winner: str, retryable: bool) -> Fault:
    """Two sources for one destination, of one rule or of two (their places)."""
    first, *others = places
    if not others:
        words = f"the rule {'in' if first.startswith('line') else 'on'} {first} names two sources for it"
    else:
        both = f"both in {first}" if others == [first] else f"{first} and {others[0]}"
        words = f"two rules name a source for it ({both})"
    return fault_at(
        destination.repository,
        "destination",
        operation=f"write the tag {destination.name}",
        code="TAG_CONFLICT",
        words=f"{words}; the first one wins: {winner}",
        retryable=retryable,
        hint="give one of them another tag",
    )


def not_joined(destination: Reference, words: str) -> Fault:
    """A shared tag cannot be merged, and stays as it is."""
    return fault_at(
        destination.repository,
        "destination",
        operation=f"store the manifest {destination.name}",
        code="NOT_JOINED",
        words=f"the entries of destination and source cannot be merged: {words}",
        hint="copy to another tag, or delete the destination's tag if nobody needs it",
    )


def absent(destination: Reference) -> Fault:
    """A verification did not find the image."""
    return fault_at(
        destination.repository,
        "destination",
        operation=f"find the image {destination.name}",
        status=404,
        code="MANIFEST_UNKNOWN",
        words="it is not there",
        hint=_AGAIN_HINT,
    )


def different(destination: Reference, *, found: str, expected: str, is_shared: bool) -> Fault:
    """A verification found another image; in a shared tag, not all of the source's entries."""
    lacks = f"which lacks entries of {expected}" if is_shared else f"not {expected}"
    return fault_at(
        destination.repository,
        "destination",
        operation=f"find the image {destination.name}",
        code="DIGEST_MISMATCH",
        words=f"it is {found}, {lacks}",
        hint=_AGAIN_HINT,
    )


def overwritten(destination: Reference, *, stored: str, found: str) -> Fault:
    """A stored tag has another digest at the end of the run; `found`: empty: it is missing."""
    now = f"it is {found} now" if found else "it is gone"
    return fault_at(
        destination.repository,
        "destination",
        operation=f"find the image {destination.name} again",
        code="TAG_OVERWRITTEN",
        words=f"{now}, but was stored as {stored}: another tag differs only in case",
        hint="the registry ignores case in tags: give one of them another tag",
    )


def untrusted_list(repository: Repository, trouble: ListTrouble, *, pages: int) -> Fault:
    """A list of tags does not end properly; `pages` were read."""
    return fault_at(
        repository,
        "source",
        operation="list the tags",
        code="PAGINATION_INVALID",
        words=f"the tag list {_LIST_TROUBLES[trouble].format(pages=pages)}",
        hint="name the tags in the rule, or ask the registry's operator about its pagination",
    )


def too_few_tags(repository: Repository, selected: int, *, least: int, listed: int) -> Fault:
    """A rule selects fewer tags than required."""
    return fault_at(
        repository,
        "source",
        operation="select the tags",
        code="TOO_FEW_TAGS",
        words=f"{selected} of {listed} tags are selected, but at_least is {least}: nothing is copied",
        hint="correct the rule's tags; at_least: 0 allows an empty selection",
    )


def wrong_tag(repository: Repository, tag: str) -> Fault:
    """The template of a destination gives an invalid tag."""
    return fault_at(
        repository,
        "destination",
        operation="name the destination's tag",
        code="TAG_INVALID",
        words=f"{tag!r} is not a tag: it has {len(tag)} characters, the limit is 128",
        hint="shorten the text around {tag}",
    )


# Registries


def patience_lost(why: Fault, waited: float, *, one_request: bool = False) -> Fault:
    """Why a wait ends: the registry's last answer, or that it cannot be reached any more."""
    refused = "this request refused" if one_request else "no request accepted"
    again = "repeat the command later, or with a longer --patience"
    return replace(
        why,
        words=f"{refused} for {waited:.0f}s: {why.words}",
        code=why.code or ("TOOMANYREQUESTS" if why.status else "UNREACHABLE"),
        retryable=True,
        hint=f"{why.hint}; {again}" if why.hint else again,
    )


def pulls_reserved(repository: Repository, digest: str, *, left: int, reserve: int) -> Fault:
    """The registry allows no more pulls than are to be left to others."""
    return fault_at(
        repository,
        "source",
        operation=f"read the manifest {digest}",
        code=PULL_RESERVE,
        words=f"{left:,} pulls are left at the registry, of which {reserve:,} are for others (reserve)",
    )


def only_server_errors(why: Fault, seconds: float) -> Fault:
    """Why a registry is given up that answers only with 5xx."""
    return replace(
        why,
        words=f"the registry returned only server errors for {seconds:.0f}s: {why.words}",
        hint="the registry's log has the reason: ask its operator; repeat the command when it works again",
    )


# Tasks


def worker_died(task: str, reason: str) -> Fault:
    """A worker died that was running only this task."""
    return fault_at(None, "", operation=task, words=f"the worker died: {reason}", code="WORKER_DIED")


def wrong_answer(task: str, outcome: str) -> Fault:
    """A worker's answer does not fit its task."""
    return fault_at(None, "", operation=task, words=f"the worker answered with {outcome}", code="")


def no_memory() -> Fault:
    """This machine could not run a task."""
    return fault_at(
        None,
        "",
        operation="finish the task",
        words="this machine has not enough memory or threads",
        code="NO_MEMORY",
        hint="lower --proc, or raise ulimit -v and -u or the limits of the container",
        retryable=True,
    )


def defect(words: str) -> Fault:
    """A bug of this program."""
    return fault_at(
        None,
        "",
        operation="finish the task",
        words=words,
        code="INTERNAL",
        hint="a bug in this program; run again with --log-level debug and report the traceback",
    )
