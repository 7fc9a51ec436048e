"""The catalogue of all events with their meaning; fields.py has their fields.

docs/log-events.md and docs/log-events.schema.json are generated from it, and a test compares the lines of
real runs with it. Names are stable: programs read them. In JSON a field has its name in OpenTelemetry's
semantic conventions, or ours with a prefix if there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.log.event import Level

LATER = "at the end of the run"
"""The field `waits`: when what failed, and may succeed, is retried."""


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
    "rule.listed": _entry(
        "the repositories that a rule with a * stands for are known; a warning if there are none",
        "info warning",
        "rule repositories apart others invalid catalogue",
    ),
    "listing.unused": _entry(
        "no listing tells the digests of a registry's tags, so each tag is asked for; once for each registry",
        "info",
        "retryable",
        _FAULT,
    ),
    "repository.to_create": _entry(
        "of a plan: a run would create a missing repository, or its project", "info", "destination"
    ),
    "repository.created": _entry(
        "a missing repository, or its project, was created for the first upload", "info", "destination"
    ),
    "rule.gone": _entry("a repository is listed, but is not there", "info", "rule reason"),
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
        f"{_PAIR} rule retryable attempt again waits {_COST}",
        f"{_FAULT} {_BLOBS} digest line file.path",
    ),
    "image.failed": _entry(
        "an image is not at its destination",
        "error",
        f"{_PAIR} rule retryable attempt again {_COST}",
        f"{_FAULT} {_BLOBS} digest line file.path",
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
