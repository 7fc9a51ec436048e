"""What a fault means, and what a person can do about it: by its code, else by its status.

A fault that knows better has a hint of its own (registry/hints.py, model/faults.py).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from pipeline.model.faults import PULL_RESERVE

if TYPE_CHECKING:
    from collections.abc import Mapping

RULE_INVALID = "RULE_INVALID"
CONFLICT = "TAG_CONFLICT"
"""The code of images whose destination tag another rule writes: only the rules file can be corrected."""

_LOGIN = "login missing, rejected, or without this right"
_BROKEN = ("part of the image is missing", "the image is broken at its source: push it there again")
_DAMAGED = (
    "repeat the command; if it fails again, the image is damaged where it is stored: push it there again"
)
_THROTTLED = "its rate limit is used up"
_CHECK = "run image-syncer check; correct the entry in the credentials file, or docker login"
_RIGHT = "give the account the right to pull at the source, or to push at the destination"
_SLOWER = "log in, wait, or set `rate` for it in the credentials file; then repeat the command"
_OPERATOR = "ask the registry's operator whether it takes this kind of content"

CAUSES: Mapping[str, tuple[str, str]] = {
    "MANIFEST_UNKNOWN": ("no such tag or digest", "correct the tag in the rule, or remove the rule"),
    "NAME_UNKNOWN": ("no such repository", "correct the repository's name in the rule, or remove the rule"),
    "MANIFEST_BLOB_UNKNOWN": _BROKEN,
    "BLOB_UNKNOWN": _BROKEN,
    "MANIFEST_INVALID": (
        "the registry rejects the manifest",
        "read its words: it may not support this media type, or lack a part of the image",
    ),
    "UNAUTHORIZED": (_LOGIN, _CHECK),
    "DENIED": ("not allowed", _RIGHT),
    "UNSUPPORTED": ("the registry does not support it", _OPERATOR),
    "TOOMANYREQUESTS": (_THROTTLED, _SLOWER),
    "UNREACHABLE": (
        "cannot be reached",
        "check its name and port, DNS, firewall and proxy; then repeat the command",
    ),
    "CERTIFICATE": (
        "no trusted TLS connection",
        "set `ca` in the credentials file to the authority's certificate, or mend the registry's",
    ),
    "TIMEOUT": ("no answer in time", "repeat the command; if it lasts, ask the registry's operator"),
    "CONNECTION_LOST": (
        "connections break off",
        "repeat the command; if it lasts, look at proxies and firewalls between",
    ),
    "DIGEST_MISMATCH": ("the content does not match its digest", _DAMAGED),
    "DIGEST_CHANGED": (
        "the image does not have the digest that the rule requires",
        "correct the digest in the rule, or find out who has moved the tag",
    ),
    "NOT_JOINED": ("the destination's tag has entries of its own", "give the rules tags of their own"),
    "SIZE_MISMATCH": ("the content does not have the stated size", _DAMAGED),
    "NOT_A_REGISTRY": (
        "a web page instead of a registry's answer",
        "check host and port in the rule, and the proxy before it",
    ),
    "TOO_LARGE": ("larger than the limit", "leave the image out: no registry or client is known to take it"),
    "TAG_IMMUTABLE": (
        "the tag exists with other content and cannot be changed",
        "delete it there, make it mutable, or use another tag in the rule; `keep` leaves such tags alone",
    ),
    "TAG_OVERWRITTEN": ("the registry ignores case in tags", "give the tags names that differ"),
    CONFLICT: ("two rules write one destination tag", "let one of the rules write another tag"),
    PULL_RESERVE: (
        "only pulls for others are left (reserve)",
        "repeat the command when the registry's window has passed, or lower reserve in the credentials file",
    ),
    "WORKER_DIED": (
        "the task kills its worker process",
        "the log says how the process died (memory?); repeat the command with a smaller --proc",
    ),
    "CREDENTIALS": ("no login available", _CHECK),
    "INTERNAL": ("a bug in image-syncer", "report it with the log of --log-level debug"),
    RULE_INVALID: ("the rule is invalid", "correct the rules file"),
    "OTHER": ("other causes", ""),
    "401": (_LOGIN, _CHECK),
    "403": ("not allowed", _RIGHT),
    "404": ("not found", "correct the name in the rule, or remove the rule"),
    "405": ("the registry does not accept this request", _OPERATOR),
    "413": ("larger than the registry accepts", "have its operator raise the limit on bodies"),
    "415": ("the registry does not accept this media type", _OPERATOR),
    "429": (_THROTTLED, _SLOWER),
    "507": ("the registry's storage is full", "have its operator make room; then repeat the command"),
}
"""By code, else by status: what it means, and what to do if the fault has no hint."""


def meaning_of(status: int | None, code: str) -> str:
    """The cause in words."""
    known = CAUSES.get(code) or CAUSES.get(str(status))
    if known is not None:
        return known[0]
    return "server error" if (status or 0) >= HTTPStatus.INTERNAL_SERVER_ERROR else "request failed"


def remedy_for(status: int | None, code: str, *, retryable: bool) -> str:
    """What to do about a fault without a hint."""
    known = CAUSES.get(code) or CAUSES.get(str(status))
    if known is not None and known[1]:
        return known[1]
    if retryable:
        return "repeat the command: the problem may be temporary"
    return "ask the registry's operator about this answer"
