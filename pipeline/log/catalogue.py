"""The catalogue of all events and fields with their meaning.

docs/log-events.md and docs/log-events.schema.json are generated from it, and a test compares the lines of
real runs with it. Names are stable: programs read them. In JSON a field has its name in OpenTelemetry's
semantic conventions, or ours with a prefix if there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.log.event import Level

PREFIX = "imagesyncer."
"""Of the names of events, and of fields for which OpenTelemetry has no name."""

LATER = "after all others"
"""The field `waits`: when what failed, and may succeed, is retried."""

FieldKind = Literal["text", "whole number", "number", "yes or no"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of events."""

    meaning: str
    """With the unit."""
    kind: FieldKind = "text"
    attribute: str = ""
    """Its name in JSON; empty: PREFIX and its own name."""


_WHOLE: FieldKind = "whole number"
_FLAG: FieldKind = "yes or no"

FIELDS: Mapping[str, Field] = {
    "advice": Field("what a person can do about it"),
    "again": Field("whether it is retried in this run", _FLAG),
    "address": Field("the address it listens on, `host:port`"),
    "aside": Field("the new name of the damaged or foreign file or folder"),
    "attempt": Field("number of the attempt, from 1; of images and rules: of the round of the run", _WHOLE),
    "blob": Field("the blob's digest"),
    "blobs": Field("blobs that the image needs", _WHOLE),
    "blobs_left": Field("blobs left to the urls that the manifest names", _WHOLE),
    "blobs_mounted": Field("blobs mounted from another repository of the registry", _WHOLE),
    "blobs_present": Field("blobs that existed at the destination", _WHOLE),
    "blobs_uploaded": Field("blobs sent", _WHOLE),
    "bytes": Field(
        "bytes of bodies: of an image, received; of a run, sent; of a blob or plan, its size", _WHOLE
    ),
    "command": Field("a command line"),
    "code": Field("the OCI error code, or our own such as UNREACHABLE or TIMEOUT", "text", "error.type"),
    "companions": Field("signatures, SBOMs and other artifacts of images", _WHOLE),
    "companions_missing": Field("companions that are not at the destination of their image", _WHOLE),
    "copied": Field("images copied", _WHOLE),
    "delay": Field("seconds until the next attempt, or until the next request to the registry", "number"),
    "destination": Field("the image's destination; of a blob, the repository"),
    "digest": Field("digest of the manifest at the destination now", "text", "oci.manifest.digest"),
    "done": Field("finished images", _WHOLE),
    "dropped": Field("entries that the platform filter removed from the index", _WHOLE),
    "duration": Field("seconds taken", "number"),
    "eta": Field("estimated seconds until the end of the run", "number"),
    "exit_code": Field("the exit code of the command", _WHOLE, "process.exit.code"),
    "failed": Field("images that are not at their destination", _WHOLE),
    "file.path": Field("a file or folder", "text", "file.path"),
    "flag": Field("a flag of the command line"),
    "flags": Field("flags of the command line, separated by commas"),
    "final": Field("whether `total` is final: all rules have been expanded", _FLAG),
    "first_line": Field("1-based line of the key's first occurrence", _WHOLE),
    "how": Field("of an image: why it counts as up to date; of a blob: uploaded, mounted, present or left"),
    "images": Field("number of images concerned", _WHOLE),
    "in_flight": Field("tasks that workers are running", _WHOLE),
    "key": Field("a key of a file, or a task's identity"),
    "left": Field("images started and not finished when the run was stopped", _WHOLE),
    "kind": Field(
        "what is limited: `request` (short requests), `blob` (small blobs) or `body` (large blobs)"
    ),
    "limit": Field("requests that may be in flight at the registry", _WHOLE),
    "line": Field("1-based line of a file", _WHOLE),
    "other_line": Field("1-based line of the other rule", _WHOLE),
    "column": Field("1-based column of a file", _WHOLE),
    "manifests": Field("manifests that the image consists of", _WHOLE),
    "method": Field("of the request", "text", "http.request.method"),
    "mounted": Field("blobs mounted from another repository of their registry", _WHOLE),
    "offset": Field("bytes of the blob already transferred", _WHOLE),
    "old_digest": Field("digest of the whole index at the source"),
    "open": Field("images started and not finished", _WHOLE),
    "optional": Field(
        "failed images and rules, part of failed and rules_failed, whose rule is optional", _WHOLE
    ),
    "origin": Field("where the credentials come from: file and key, or helper program"),
    "present": Field("blobs that were already in their repository", _WHOLE),
    "p50": Field(
        "median seconds until the response began, without requests that send or receive blobs", "number"
    ),
    "p95": Field("95th percentile of the same", "number"),
    "proc": Field("--proc: images and blobs at a time at most", _WHOLE),
    "rate": Field("bytes sent per second, recent average", "number"),
    "reason": Field("why, in words"),
    "records": Field("folder of the records", "text"),
    "registry": Field("host, and port if it has one", "text", "server.address"),
    "requests": Field("requests to registries", _WHOLE),
    "retryable": Field("whether the same request may succeed later without intervention", _FLAG),
    "rule": Field("the rule as written in the file"),
    "rules": Field("number of rules concerned", _WHOLE),
    "rules_failed": Field("rules that could not be expanded", _WHOLE),
    "selected": Field("tags that the rule selects", _WHOLE),
    "shard": Field("the part of the rules that the run does: `17/200`"),
    "side": Field("the side of the copy that failed: source or destination"),
    "signal": Field("number of the signal; 0: none", _WHOLE),
    "kept": Field("images whose tag is there, and is never moved", _WHOLE),
    "held": Field("images that were first seen too recently", _WHOLE),
    "skipped": Field("images with no platform that the filter wants", _WHOLE),
    "source": Field("the image's source; of a blob, the repository"),
    "spared": Field("bytes saved: of blobs mounted or already present", _WHOLE),
    "status": Field("HTTP status of the answer", _WHOLE, "http.response.status_code"),
    "tags": Field("tags in the registry's list", _WHOLE),
    "twins": Field("tags that differ only in case, separated by commas"),
    "tasks": Field("tasks of the worker, which another one takes over", _WHOLE),
    "to_retry": Field("failed images that wait for the next round", _WHOLE),
    "tried": Field("the higher limit that was tried without gain; if none was, the limit itself", _WHOLE),
    "total": Field("images that rules have selected so far", _WHOLE),
    "unchanged": Field("images already at their destination", _WHOLE),
    "uploaded": Field("blobs sent", _WHOLE),
    "url": Field("of the request, without its query", "text", "url.full"),
    "version": Field("the version of image-syncer"),
    "waits": Field("when it is retried, in words"),
    "workers": Field("worker processes", _WHOLE),
}
"""Every field that an event may have."""


@dataclass(frozen=True, slots=True)
class EventEntry:
    """One event."""

    meaning: str
    levels: tuple[Level, ...]
    always: frozenset[str] = frozenset()
    """Fields of every such line."""
    sometimes: frozenset[str] = frozenset()
    """Fields that a line has only if they apply."""


def _entry(meaning: str, levels: str, always: str = "", sometimes: str = "") -> EventEntry:
    """Lists are given as words separated by spaces."""
    named: tuple[Level, ...] = tuple(levels.split())  # type: ignore[arg-type] # a test looks at them
    required, optional = frozenset(always.split()), frozenset(sometimes.split())
    return EventEntry(meaning, named, required, optional - required)


_FAULT = "side registry status code"
_RESULTS = "copied unchanged kept held skipped failed"
_PAIR = "source destination"
_COST = "bytes requests duration"
_BLOBS = "companions blobs_uploaded blobs_mounted blobs_present blobs_left"

EVENTS: Mapping[str, EventEntry] = {
    "run.start": _entry("a run started", "info", "version command rules records", "proc shard"),
    "run.progress": _entry(
        "progress of the run: every --progress-interval, and at SIGUSR1",
        "info",
        f"done total final {_RESULTS} to_retry open bytes rate in_flight workers",
        "eta",
    ),
    "run.drain": _entry(
        "a signal, or a full disk: running transfers are finished", "warning", "signal in_flight"
    ),
    "run.cause": _entry(
        "failures with one cause: how many, an example, what to do",
        "error",
        "retryable images rules source destination reason advice",
        _FAULT,
    ),
    "run.again": _entry("the command that retries only what failed", "info", "command"),
    "run.left": _entry(
        "what a stopped run leaves: `left` images started, `rules` not fully expanded; how to resume",
        "warning",
        "signal left rules",
    ),
    "run.quarantine": _entry(
        "every image was held, and none was seen before: the first run with `min_age`, or lost records",
        "warning",
        "held",
    ),
    "run.finish": _entry(
        "a run finished; an error if the exit code is not 0",
        "info error",
        f"{_RESULTS} rules_failed left bytes spared uploaded mounted present requests duration exit_code",
        "optional companions companions_missing",
    ),
    "plan.start": _entry("a plan started", "info", "version command rules records", "shard"),
    "plan.finish": _entry(
        "a plan finished: what a run would do; an error if the exit code is not 0",
        "info error",
        f"{_RESULTS} rules_failed left bytes spared uploaded mounted present requests duration exit_code",
        "eta optional companions companions_missing",
    ),
    "verify.start": _entry("a verification started", "info", "version command rules", "shard"),
    "verify.finish": _entry(
        "a verification finished; an error if the exit code is not 0",
        "info error",
        "unchanged kept held skipped failed rules_failed left present requests duration exit_code",
        "optional companions companions_missing",
    ),
    "run.broken": _entry("a bug in this program ended the run: its traceback", "error"),
    "flags.unused": _entry("flags of the command line have no effect for this verb", "debug", "flags"),
    "config.duplicate_key": _entry(
        "a key occurs twice in a file; the last one wins", "warning", "file.path key line first_line"
    ),
    "config.rule_invalid": _entry(
        "a rule is invalid and fails; the others continue; a warning in shards that do not count it",
        "error warning",
        "file.path line column rule reason",
    ),
    "config.file_ignored": _entry(
        "a file is not read because another one takes precedence", "warning", "file.path"
    ),
    "config.second_document": _entry(
        "a YAML file holds more than one document; only the first is read", "warning", "file.path line"
    ),
    "config.unknown_key": _entry("a file has an unknown key", "warning", "file.path key line"),
    "config.login_unreadable": _entry(
        "a file of docker logins, or an entry in it, cannot be read and is ignored", "warning", "file.path"
    ),
    "config.password_shown": _entry(
        "a password is on the command line, where other users can read it", "warning", "flag"
    ),
    "config.no_credentials": _entry("there is no credentials file", "warning"),
    "credentials.chosen": _entry(
        "the credentials used for a registry; once for each", "info", "registry", "origin"
    ),
    "credentials.rejected": _entry(
        "a registry rejects credentials; once for each", "warning", "registry origin side status"
    ),
    "rule.expanded": _entry(
        "the tags that a rule selects are known; a warning if there are none",
        "info warning",
        "rule tags selected",
    ),
    "tags.twins": _entry(
        "tags of one destination repository differ only in case: they are read back at the end",
        "warning",
        "destination twins",
    ),
    "rule.after": _entry(
        "a rule reads what an earlier rule writes: it starts when all images of that rule are finished",
        "info",
        "rule line other_line",
        "file.path",
    ),
    "rule.too_early": _entry(
        "a rule reads what a later rule writes: it copies what exists before",
        "warning",
        "rule line other_line",
        "file.path",
    ),
    "rule.retry": _entry(
        "a rule's tags could not be listed; it is retried",
        "warning",
        "rule line retryable attempt again waits",
        f"{_FAULT} file.path",
    ),
    "rule.failed": _entry(
        "a rule's tags cannot be listed; the other rules continue",
        "error",
        "rule line retryable attempt again",
        f"{_FAULT} file.path",
    ),
    "image.planned": _entry("an image's manifests have been read", "debug", f"{_PAIR} manifests blobs bytes"),
    "image.done": _entry("an image was copied", "info", f"{_PAIR} digest {_COST}", _BLOBS),
    "image.unchanged": _entry(
        "an image was already at its destination", "info", f"{_PAIR} {_COST}", f"digest how {_BLOBS}"
    ),
    "image.to_copy": _entry(
        "of a plan: an image would be copied; what that would cost", "info", f"{_PAIR} digest {_COST}", _BLOBS
    ),
    "image.verified": _entry(
        "of a verification: an image is complete at its destination",
        "info",
        f"{_PAIR} {_COST}",
        f"digest how {_BLOBS}",
    ),
    "image.skipped": _entry("no platform of an image is wanted", "info", f"{_PAIR} reason {_COST}", _BLOBS),
    "image.kept": _entry(
        "the destination has the tag, and the rule never moves it: it was not compared",
        "info",
        f"{_PAIR} {_COST}",
        f"digest {_BLOBS}",
    ),
    "image.held": _entry(
        "an image was first seen too recently: a later run copies it",
        "info",
        f"{_PAIR} reason {_COST}",
        f"digest {_BLOBS}",
    ),
    "image.rewritten": _entry(
        "the platform filter removed entries from an index: signatures of its old digest do not apply",
        "warning",
        f"{_PAIR} old_digest digest dropped {_COST}",
        _BLOBS,
    ),
    "image.companions_missing": _entry(
        "signatures, SBOMs or other artifacts of an image are not at its destination; the image itself is",
        "warning",
        f"{_PAIR} companions retryable {_COST}",
        f"{_FAULT} {_BLOBS}",
    ),
    "image.joined": _entry(
        "a tag that lists an image's companions now holds the entries of both sides",
        "info",
        f"{_PAIR} old_digest digest {_COST}",
        _BLOBS,
    ),
    "image.retry": _entry(
        "an image failed and is retried",
        "warning",
        f"{_PAIR} retryable attempt again waits {_COST}",
        f"{_FAULT} {_BLOBS} digest",
    ),
    "image.failed": _entry(
        "an image is not at its destination",
        "error",
        f"{_PAIR} retryable attempt again {_COST}",
        f"{_FAULT} {_BLOBS} digest",
    ),
    "blob.done": _entry("a blob is in its repository", "debug", f"{_PAIR} blob how duration", "bytes"),
    "blob.left": _entry(
        "a foreign layer, which the source does not hold, was not copied: its urls serve it",
        "info",
        f"{_PAIR} blob",
    ),
    "blob.retry": _entry(
        "a transfer of a blob broke off and resumes at `offset`; 0: from the start",
        "info",
        "registry blob offset",
        f"{_PAIR} {_FAULT} retryable attempt again",
    ),
    "blob.resumed": _entry(
        "an upload of an earlier attempt or run resumes at `offset`",
        "info",
        "destination blob offset",
    ),
    "request.retry": _entry(
        "a request failed and is repeated",
        "info",
        "registry retryable attempt again delay",
        _FAULT,
    ),
    "http.request": _entry(
        "a request was answered, or failed; to token servers and storage too",
        "debug",
        "registry method url duration",
        "status code",
    ),
    "registry.cooldown": _entry(
        "a registry limits the rate or is unreachable: no requests for a while; repeated once a minute",
        "warning",
        "registry delay limit open retryable again",
        "side status code",
    ),
    "registry.reserved": _entry(
        "no more pulls are left than `reserve` says: manifests wait", "warning", "registry delay open"
    ),
    "registry.recovered": _entry("a registry accepts requests again", "info", "registry limit duration"),
    "registry.settled": _entry(
        "the limit of parallel requests, or blobs, was found; at level debug each time it changes",
        "info debug",
        "registry kind limit tried",
    ),
    "registry.latency": _entry(
        "a registry's response times; after each run.progress, if requests are timed for metrics or a report",
        "info",
        "registry requests p50 p95",
    ),
    "mirror.left": _entry(
        "a mirror failed: not asked for `delay` seconds; without `again`: not for one repository in this run",
        *("warning", "side registry retryable again", "status code delay"),
    ),
    "registry.warning": _entry(
        "a registry sends a Warning header; once for each text", "warning", "registry reason"
    ),
    "registry.mount_refused": _entry(
        "a registry does not mount blobs from other repositories; once for each", "info", "registry"
    ),
    "task.broken": _entry("a task failed with an unexpected error: its traceback", "debug", "key"),
    "worker.lost": _entry("a worker process died; its tasks are dispatched again", "warning", "reason tasks"),
    "worker.unfit": _entry("a remote worker gets no tasks, or there is none", "warning", "address"),
    "records.trouble": _entry(
        "the records are damaged or cannot be used", "warning", "reason", "file.path aside"
    ),
    "metrics.listening": _entry("metrics can be scraped", "info", "address"),
    "metrics.trouble": _entry("the metrics file cannot be written", "warning", "file.path reason"),
}
"""Every event that a run may write, by name."""
