"""The fields of events with their meaning; see catalogue.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipeline.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "imagesyncer."
"""Of the names of events, and of fields for which OpenTelemetry has no name."""

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
    "apart": Field("repositories that have a rule of their own", _WHOLE),
    "bytes": Field(
        "bytes of bodies: of an image, received; of a run, sent; of a blob or plan, its size", _WHOLE
    ),
    "command": Field("a command line"),
    "catalogue": Field("kind of the interface that listed repositories"),
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
    "others": Field("listed repositories that the rule does not take", _WHOLE),
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
    "repositories": Field("repositories that the rule stands for", _WHOLE),
    "requests": Field("requests to registries", _WHOLE),
    "retryable": Field("whether the same request may succeed later without intervention", _FLAG),
    "rule": Field("the rule as written in the file"),
    "rules": Field("number of rules concerned", _WHOLE),
    "rules_failed": Field("rules that could not be expanded", _WHOLE),
    "selected": Field("tags that the rule selects", _WHOLE),
    "shard": Field("the part of the rules that the run does: `17/200`"),
    "side": Field("the side of the copy that failed: source or destination"),
    "signal": Field("number of the signal; 0: none", _WHOLE),
    "invalid": Field("names in a listing that are no repository's", _WHOLE),
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
