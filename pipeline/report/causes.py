"""Failures by cause: thousands of failed images have a handful of causes, each with one remedy.

A cause is a side, a registry, a status, a code and a hint, never the registry's words, which differ from
image to image. Registries choose codes too, so causes beyond a number are grouped as "other".
"""

from __future__ import annotations

from dataclasses import field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.model.faults import PULL_RESERVE
from pipeline.outputs.image_lists import ListEntry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pipeline.errors import Fault
    from pipeline.model.facts import ImageRow
    from pipeline.model.selection import Rule

_MOST = 40
"""Maximum number of separate causes."""
EXAMPLES = 20
"""Failures that a cause keeps as examples."""

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
        "choose another tag, or name it in `keep` if the old content shall stay",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One image that failed, or one rule that failed as a whole."""

    source: str
    """A reference; for a rule, as written."""
    destinations: tuple[str, ...]
    """Likewise."""
    words: str
    """One line, without the hint."""
    is_rule: bool = False
    side: str = ""
    registry: str = ""
    status: int = 0
    code: str = ""
    hint: str = ""
    retryable: bool = False
    options: str = ""
    """The other options of its rule, as a list of images writes them."""

    @property
    def pair(self) -> str:
        """`quay.io/team/api:v3.1 -> harbor.corp/team/api:v3.1`."""
        return f"{self.source} -> {', '.join(self.destinations)}"


@dataclass(slots=True, kw_only=True)
class CauseGroup:
    """All failures of one cause."""

    side: str
    registry: str
    status: int
    code: str
    hint: str
    """The remedy."""
    retryable: bool
    images: int = 0
    rules: int = 0
    examples: list[Failure] = field(default_factory=list)
    """The first ones, at most 20."""

    @property
    def key(self) -> tuple[str, str, int, str, str]:
        """The common properties of failures of one cause."""
        return self.side, self.registry, self.status, self.code, self.hint

    @property
    def count(self) -> int:
        """Number of images and rules."""
        return self.images + self.rules

    @property
    def meaning(self) -> str:
        """The cause as a sentence."""
        known, _ = self._known
        return known or (
            "server error" if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "request failed"
        )

    @property
    def title(self) -> str:
        """`source quay.io: 404 MANIFEST_UNKNOWN, no such tag or digest`."""
        place = " ".join(part for part in (self.side, self.registry) if part)
        return f"{place}: {self.reason}" if place else self.reason

    @property
    def reason(self) -> str:
        """`404 MANIFEST_UNKNOWN, no such tag or digest`."""
        answer = " ".join(part for part in (str(self.status or ""), self.code) if part)
        return ", ".join(part for part in (answer, self.meaning) if part)

    @property
    def may_be_tried(self) -> bool:
        """Whether a rules file of only these failures does what the whole file does."""
        return self.code != CONFLICT

    @property
    def advice(self) -> str:
        """The remedy."""
        again = "repeat the command: the problem may be temporary" if self.retryable else ""
        return self.hint or self._known[1] or again or "ask the registry's operator about the message above"

    @property
    def _known(self) -> tuple[str, str]:
        by_code, by_status = CAUSES.get(self.code, ("", "")), CAUSES.get(str(self.status), ("", ""))
        return by_code[0] or by_status[0], by_code[1] or by_status[1]


def from_row(row: ImageRow, options: str = "") -> Failure:
    """A failed image."""
    return Failure(
        options=options,
        source=row.source,
        destinations=(row.destination,),
        words=row.fault.removesuffix(f" ({row.hint})"),
        side=row.side,
        registry=row.registry,
        status=row.status,
        code=row.code,
        hint=row.hint,
        retryable=row.retryable,
    )


def from_rule(rule: Rule, destinations: tuple[str, ...], fault: Fault, *, options: str = "") -> Failure:
    """A rule whose tags could not be listed in full."""
    return Failure(
        options=options,
        source=rule.text,
        destinations=destinations,
        words=str(fault).removesuffix(f" ({fault.hint})"),
        is_rule=True,
        side=fault.side or "source",
        registry=fault.registry,
        status=fault.status or 0,
        code=fault.code,
        hint=fault.hint,
        retryable=fault.retryable,
    )


def group(failures: Iterable[Failure]) -> tuple[CauseGroup, ...]:
    """The causes in the order of `_ordered`; memory does not grow with the number of failures."""
    found: dict[tuple[str, str, int, str, str], CauseGroup] = {}
    for failure in failures:
        key = (failure.side, failure.registry, failure.status, failure.code, failure.hint)
        if failure.code == RULE_INVALID:
            key = ("", "", 0, RULE_INVALID, "")  # each has its own hint, but one file to correct
        if key not in found and len(found) >= _MOST:
            key = ("", "", 0, "OTHER", "")
        entry = found.get(key)
        if entry is None:
            side, registry, status, code, hint = key
            retryable = failure.retryable and code != "OTHER"
            entry = found[key] = CauseGroup(
                side=side, registry=registry, status=status, code=code, hint=hint, retryable=retryable
            )
        entry.images += not failure.is_rule
        entry.rules += failure.is_rule
        if len(entry.examples) < EXAMPLES:
            entry.examples.append(failure)
    return _ordered(found.values())


def merged(causes: Iterable[CauseGroup]) -> tuple[CauseGroup, ...]:
    """The causes of several runs, in the order of `_ordered`."""
    found: dict[tuple[str, str, int, str, str], CauseGroup] = {}
    for each in causes:
        entry = found.setdefault(each.key, replace(each, images=0, rules=0, examples=[]))
        entry.images += each.images
        entry.rules += each.rules
        entry.examples = [*entry.examples, *each.examples][:EXAMPLES]
    return _ordered(found.values())


def _ordered(causes: Iterable[CauseGroup]) -> tuple[CauseGroup, ...]:
    """First causes that need a person, then temporary ones, `OTHER` last; by number of failures in each."""
    return tuple(sorted(causes, key=lambda each: (each.code == "OTHER", each.retryable, -each.count)))


def entries(one: CauseGroup) -> Iterator[ListEntry]:
    """The examples of a cause as entries of a rules file."""
    return (ListEntry(each.source, each.destinations, each.options) for each in one.examples)
