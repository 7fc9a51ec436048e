"""The catalogue: every event that a run may write, and every field, with what it means.

docs/log-events.md and docs/log-events.schema.json are generated from it, and a test holds the lines of real
runs against it. Names are stable: programs read them. In JSON they are those of OpenTelemetry's semantic
conventions where these have one, else ours behind a prefix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.log.event import Level

PREFIX = "imagesyncer."
"""Before the names of events and of fields for which OpenTelemetry has no name."""

FieldKind = Literal["text", "whole number", "number", "yes or no"]


@dataclass(frozen=True, slots=True)
class Field:
    """What one field says."""

    meaning: str
    """With its unit."""
    kind: FieldKind = "text"
    attribute: str = ""
    """Its name in JSON; empty: the prefix and its own name."""


_WHOLE: FieldKind = "whole number"
_FLAG: FieldKind = "yes or no"

FIELDS: Mapping[str, Field] = {
    "advice": Field("what a person can do about it"),
    "again": Field("whether it is tried again in this run", _FLAG),
    "address": Field("where it listens, as `host:port`"),
    "aside": Field("the name under which what was found is kept"),
    "attempt": Field("which try it was; of images and rules: which round of the run; 1 is the first", _WHOLE),
    "blob": Field("the blob's digest"),
    "blobs": Field("blobs that the image needs", _WHOLE),
    "blobs_left": Field("blobs left to the urls that the manifest names", _WHOLE),
    "blobs_mounted": Field("blobs mounted from another repository of the registry", _WHOLE),
    "blobs_present": Field("blobs that were there", _WHOLE),
    "blobs_uploaded": Field("blobs sent", _WHOLE),
    "bytes": Field(
        "bytes of bodies: of an image, received; of a run, sent; of a blob or plan, its size", _WHOLE
    ),
    "command": Field("a command line"),
    "code": Field(
        "the OCI error code, or a word of ours such as UNREACHABLE or TIMEOUT", "text", "error.type"
    ),
    "copied": Field("images copied", _WHOLE),
    "delay": Field("seconds until the next try, or until the registry is asked again", "number"),
    "destination": Field("the image's destination; of a blob, the repository"),
    "digest": Field("digest of the manifest that is at the destination now", "text", "oci.manifest.digest"),
    "done": Field("images that have come to their end", _WHOLE),
    "dropped": Field("entries that the platform filter left out of the index", _WHOLE),
    "duration": Field("seconds that it took", "number"),
    "eta": Field("seconds until the run ends, as far as can be told", "number"),
    "exit_code": Field("the exit code of the command", _WHOLE, "process.exit.code"),
    "failed": Field("images that are not at their destination", _WHOLE),
    "file.path": Field("a file or folder", "text", "file.path"),
    "flag": Field("a flag of the command line"),
    "final": Field("whether `total` grows no more: all rules have been expanded", _FLAG),
    "first_line": Field("where the key stood first, 1-based", _WHOLE),
    "how": Field("of an image: why it counts as up to date; of a blob: uploaded, mounted, present or left"),
    "images": Field("images that it is about", _WHOLE),
    "in_flight": Field("tasks that workers are running", _WHOLE),
    "key": Field("a key of a file, or a task's identity"),
    "left": Field("images begun and not finished when the run was stopped", _WHOLE),
    "kind": Field("what there are places for: `request` (short ones) or `body` (blobs)"),
    "limit": Field("requests that may be in flight at the registry", _WHOLE),
    "line": Field("1-based line of a file", _WHOLE),
    "other_line": Field("line of the other rule that it is about, 1-based", _WHOLE),
    "column": Field("1-based column of a file", _WHOLE),
    "manifests": Field("manifests that the image consists of", _WHOLE),
    "method": Field("of the request", "text", "http.request.method"),
    "mounted": Field("blobs mounted from another repository of their registry", _WHOLE),
    "offset": Field("bytes of the blob that had come", _WHOLE),
    "old_digest": Field("digest of the whole index at the source"),
    "open": Field("images begun and not ended", _WHOLE),
    "origin": Field("file and key, or helper program, that the credentials come from"),
    "present": Field("blobs that were in their repository already", _WHOLE),
    "p50": Field("seconds within which half of the answers began; requests with bodies left out", "number"),
    "p95": Field("seconds within which 95 of 100 answers began, likewise", "number"),
    "proc": Field("--proc: images and blobs at a time, at most", _WHOLE),
    "rate": Field("bytes sent a second, lately", "number"),
    "reason": Field("why, in words"),
    "records": Field("folder of the records", "text"),
    "registry": Field("host, and port where it has one", "text", "server.address"),
    "requests": Field("requests to registries", _WHOLE),
    "retryable": Field("whether the same request may succeed later without anybody doing anything", _FLAG),
    "rule": Field("the rule as it stands in the file"),
    "rules": Field("rules that it is about", _WHOLE),
    "rules_failed": Field("rules that could not be expanded", _WHOLE),
    "selected": Field("tags that the rule selects", _WHOLE),
    "side": Field("source or destination: on which side of the copy it went wrong"),
    "signal": Field("number of the signal; 0: none came", _WHOLE),
    "skipped": Field("images of which the platform filter leaves nothing", _WHOLE),
    "source": Field("the image's source; of a blob, the repository"),
    "spared": Field("bytes of blobs that were mounted or found, and not sent", _WHOLE),
    "status": Field("HTTP status of the answer", _WHOLE, "http.response.status_code"),
    "tags": Field("tags in the registry's list", _WHOLE),
    "twins": Field("tags that differ in case only, separated by commas"),
    "tasks": Field("tasks that were given to the worker and go to another one", _WHOLE),
    "to_retry": Field("images that failed and wait for the next round", _WHOLE),
    "tried": Field("how many at a time were tried in vain; where none were, the limit itself", _WHOLE),
    "total": Field("images that rules have named so far", _WHOLE),
    "unchanged": Field("images found at their destination", _WHOLE),
    "uploaded": Field("blobs sent", _WHOLE),
    "url": Field("of the request, without its query", "text", "url.full"),
    "waits": Field("when it is tried again, in words"),
    "workers": Field("worker processes", _WHOLE),
}
"""Every field that an event may have."""


@dataclass(frozen=True, slots=True)
class EventEntry:
    """What one event says."""

    meaning: str
    levels: tuple[Level, ...]
    always: frozenset[str] = frozenset()
    """Fields that every such line has."""
    sometimes: frozenset[str] = frozenset()
    """Fields that a line has where there is something to say."""


def _entry(meaning: str, levels: str, always: str = "", sometimes: str = "") -> EventEntry:
    """Lists are written as words with spaces."""
    named: tuple[Level, ...] = tuple(levels.split())  # type: ignore[arg-type] # a test looks at them
    return EventEntry(meaning, named, frozenset(always.split()), frozenset(sometimes.split()))


_FAULT = "side registry status code"
_PAIR = "source destination"
_COST = "bytes requests duration"
_BLOBS = "blobs_uploaded blobs_mounted blobs_present blobs_left"

EVENTS: Mapping[str, EventEntry] = {
    "run.start": _entry("a run begins", "info", "rules records", "proc"),
    "run.progress": _entry(
        "how far the run is: every --progress-interval, and at SIGUSR1",
        "info",
        "done total final copied unchanged skipped failed to_retry open bytes rate in_flight workers",
        "eta",
    ),
    "run.drain": _entry(
        "a signal, or a full disk: what is under way is finished", "warning", "signal in_flight"
    ),
    "run.cause": _entry(
        "failures that have one cause: how many, an example, what to do",
        "error",
        "retryable images rules source destination reason advice",
        _FAULT,
    ),
    "run.again": _entry("the command that tries what failed again, and only that", "info", "command"),
    "run.left": _entry(
        "what a run that was stopped leaves: `left` images begun, `rules` not fully expanded; how to go on",
        "warning",
        "signal left rules",
    ),
    "run.finish": _entry(
        "a run is over; an error where the exit code is not 0",
        "info error",
        "copied unchanged skipped failed rules_failed left bytes spared uploaded mounted present requests"
        " duration exit_code",
    ),
    "plan.start": _entry("a plan begins", "info", "rules records"),
    "plan.finish": _entry(
        "a plan is made: what a run would do; an error where the exit code is not 0",
        "info error",
        "copied unchanged skipped failed rules_failed left bytes spared uploaded mounted present requests"
        " duration exit_code",
        "eta",
    ),
    "verify.start": _entry("a verification begins", "info", "rules"),
    "verify.finish": _entry(
        "a verification is over; an error where the exit code is not 0",
        "info error",
        "unchanged skipped failed rules_failed left present requests duration exit_code",
    ),
    "run.broken": _entry("a defect of this program ended the run: its traceback", "error"),
    "config.duplicate_key": _entry(
        "a key stands twice in a file; the last one wins", "warning", "file.path key line first_line"
    ),
    "config.rule_invalid": _entry(
        "a rule is wrong and fails; the others go on", "error", "file.path line column rule reason"
    ),
    "config.file_ignored": _entry("a file is not read, since another one wins", "warning", "file.path"),
    "config.second_document": _entry(
        "a YAML file holds more than one document; only the first is read", "warning", "file.path line"
    ),
    "config.unknown_key": _entry("a file has a key that means nothing", "warning", "file.path key line"),
    "config.login_unreadable": _entry(
        "a file of docker logins, or an entry of it, cannot be read and is left out", "warning", "file.path"
    ),
    "config.password_shown": _entry(
        "a password stands on the command line, where others can read it", "warning", "flag"
    ),
    "config.no_credentials": _entry("there is no credentials file", "warning"),
    "credentials.chosen": _entry(
        "which credentials open a registry; once for each", "info", "registry", "origin"
    ),
    "credentials.rejected": _entry(
        "a registry refuses credentials; once for each", "warning", "registry origin side status"
    ),
    "rule.expanded": _entry(
        "the tags that a rule selects are known; a warning where there are none",
        "info warning",
        "rule tags selected",
    ),
    "tags.twins": _entry(
        "tags of one destination repository differ in case only: they are read back at the end",
        "warning",
        "destination twins",
    ),
    "rule.after": _entry(
        "a rule reads what one above it writes: it begins when all images of that one have ended",
        "info",
        "rule line other_line",
    ),
    "rule.too_early": _entry(
        "a rule reads what one below it writes: it takes what is there before",
        "warning",
        "rule line other_line",
    ),
    "rule.retry": _entry(
        "a rule's tags could not be listed; it is tried again",
        "warning",
        "rule line retryable attempt again waits",
        _FAULT,
    ),
    "rule.failed": _entry(
        "a rule's tags cannot be listed; the others go on",
        "error",
        "rule line retryable attempt again",
        _FAULT,
    ),
    "image.planned": _entry("an image's manifests have been read", "debug", f"{_PAIR} manifests blobs bytes"),
    "image.done": _entry("an image was copied", "info", f"{_PAIR} digest {_COST}", _BLOBS),
    "image.unchanged": _entry(
        "an image was found at its destination", "info", f"{_PAIR} {_COST}", f"digest how {_BLOBS}"
    ),
    "image.to_copy": _entry(
        "of a plan: an image would be copied; what it would cost", "info", f"{_PAIR} digest {_COST}", _BLOBS
    ),
    "image.verified": _entry(
        "of a verification: an image is complete at its destination",
        "info",
        f"{_PAIR} {_COST}",
        f"digest how {_BLOBS}",
    ),
    "image.skipped": _entry(
        "nothing of an image is left by the platform filter", "info", f"{_PAIR} reason {_COST}", _BLOBS
    ),
    "image.rewritten": _entry(
        "an index was cut by the platform filter: signatures of its old digest do not apply",
        "warning",
        f"{_PAIR} old_digest digest dropped {_COST}",
        _BLOBS,
    ),
    "image.joined": _entry(
        "a tag that lists what belongs to an image now holds the entries of both sides",
        "info",
        f"{_PAIR} old_digest digest {_COST}",
        _BLOBS,
    ),
    "image.retry": _entry(
        "an image failed and is tried again",
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
        "a layer with urls of its own, which the source does not hold, is left to them",
        "info",
        f"{_PAIR} blob",
    ),
    "blob.retry": _entry(
        "a blob broke off on its way and goes on at `offset`, 0 being its beginning",
        "info",
        "registry blob offset",
        f"{_PAIR} {_FAULT} retryable attempt again",
    ),
    "blob.resumed": _entry(
        "an upload goes on at `offset`, where an earlier try or run had to leave it",
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
        "a registry pushes back, or is gone: it is asked nothing for a while; once a minute while that lasts",
        "warning",
        "registry delay limit open retryable again",
        "side status code",
    ),
    "registry.recovered": _entry(
        "a registry that paused lets requests through again", "info", "registry limit duration"
    ),
    "registry.settled": _entry(
        "how many requests, or blobs, at a time were found to be enough; at level debug each time it changes",
        "info debug",
        "registry kind limit tried",
    ),
    "registry.latency": _entry(
        "how fast a registry answers; after each run.progress, where requests are timed for metrics or a"
        " report",
        "info",
        "registry requests p50 p95",
    ),
    "registry.warning": _entry(
        "a registry sends a Warning header; once for each text", "warning", "registry reason"
    ),
    "registry.mount_refused": _entry(
        "a registry does not mount blobs from other repositories; once for each", "info", "registry"
    ),
    "task.broken": _entry("a task met an error that nobody foresaw: its traceback", "debug", "key"),
    "worker.lost": _entry("a worker process died; its tasks are given out again", "warning", "reason tasks"),
    "records.trouble": _entry(
        "the records are not what they should be", "warning", "reason", "file.path aside"
    ),
    "metrics.listening": _entry("metrics can be scraped", "info", "address"),
    "metrics.trouble": _entry("the file of metrics cannot be written", "warning", "file.path reason"),
}
"""Every event that a run may write, by name."""
