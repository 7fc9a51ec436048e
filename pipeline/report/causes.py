"""Failures by cause: thousands of failed images have a handful of causes, and each asks for one thing to do.

A cause is a side, a registry, a status, a code and what to do about it, never the registry's words: those
differ from image to image. Registries choose codes too, so causes beyond a number are put together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.errors import Fault
    from pipeline.model.facts import ImageRow
    from pipeline.model.selection import Rule

_MOST = 40
"""Causes told apart."""
EXAMPLES = 20
"""Failures that a cause keeps."""

CONFLICT = "TAG_CONFLICT"
"""The code of images that lost their destination tag: only the rules file can be mended."""

_MEANINGS = {
    "MANIFEST_UNKNOWN": "no such tag or digest",
    "NAME_UNKNOWN": "no such repository",
    "MANIFEST_BLOB_UNKNOWN": "a part of the image is missing",
    "BLOB_UNKNOWN": "a part of the image is missing",
    "MANIFEST_INVALID": "the manifest is refused",
    "UNAUTHORIZED": "a login is missing, refused, or not enough",
    "DENIED": "not allowed",
    "UNSUPPORTED": "the registry does not support it",
    "TOOMANYREQUESTS": "its limit lets nothing through",
    "UNREACHABLE": "it cannot be reached",
    "CERTIFICATE": "no trusted TLS connection",
    "TIMEOUT": "it does not answer in time",
    "CONNECTION_LOST": "it breaks connections off",
    "DIGEST_MISMATCH": "the content is not what its digest names",
    "DIGEST_CHANGED": "the image has another digest than the rule requires at its destination",
    "NOT_JOINED": "the destination's tag holds entries of its own",
    "SIZE_MISMATCH": "the content is not as long as announced",
    "NOT_A_REGISTRY": "a web page came instead of a registry's answer",
    "TOO_LARGE": "larger than is read",
    "TAG_IMMUTABLE": "the tag is there with another content, and may not be changed",
    "TAG_OVERWRITTEN": "the registry does not tell tags apart that differ in case only",
    CONFLICT: "two rules give one destination tag a source",
    "WORKER_DIED": "the work on it kills its process",
    "CREDENTIALS": "no login is to be had",
    "INTERNAL": "a defect of image-syncer",
    "RULE_INVALID": "the rule is wrong",
    "OTHER": "other causes",
    "401": "a login is missing, refused, or not enough",
    "403": "not allowed",
    "404": "it is not there",
    "405": "the registry does not accept this",
    "413": "larger than the registry takes",
    "415": "the registry does not take this media type",
    "429": "its limit lets nothing through",
    "507": "the registry's storage is full",
}
_DAMAGED = "repeat the command; if it stays, the image is damaged where it is stored: push it there again"
_ADVICE = {
    "MANIFEST_UNKNOWN": "correct the tag in the rule, or take the rule out",
    "NAME_UNKNOWN": "correct the repository's name in the rule, or take the rule out",
    "404": "correct the name in the rule, or take the rule out",
    "MANIFEST_BLOB_UNKNOWN": "the image is broken at its source: push it there again",
    "BLOB_UNKNOWN": "the image is broken at its source: push it there again",
    "DIGEST_MISMATCH": _DAMAGED,
    "SIZE_MISMATCH": _DAMAGED,
    "UNREACHABLE": "check its name and port, DNS, firewall and proxy; then repeat the command",
    "INTERNAL": "report it with the log of --log-level debug",
    "WORKER_DIED": "the log says how the process died (memory?); repeat the command with a smaller --proc",
    "RULE_INVALID": "correct the rules file",
}
_SERVER_ERRORS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One image that failed, or one rule that failed as a whole."""

    source: str
    """A reference; of a rule: as written."""
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
    """What to do."""
    retryable: bool
    images: int = 0
    rules: int = 0
    examples: list[Failure] = field(default_factory=list)
    """The first ones, at most 20."""

    @property
    def count(self) -> int:
        """Images and rules together."""
        return self.images + self.rules

    @property
    def meaning(self) -> str:
        """The cause in words."""
        known = _MEANINGS.get(self.code) or _MEANINGS.get(str(self.status))
        if not known and self.status >= _SERVER_ERRORS:
            return "the registry is in trouble"
        return known or "it did not work"

    @property
    def title(self) -> str:
        """`source quay.io: 404 MANIFEST_UNKNOWN, no such tag or digest`."""
        place = " ".join(part for part in (self.side, self.registry) if part)
        answer = " ".join(part for part in (str(self.status or ""), self.code) if part)
        cause = ", ".join(part for part in (answer, self.meaning) if part)
        return f"{place}: {cause}" if place else cause

    @property
    def may_be_tried(self) -> bool:
        """Whether rules of these failures alone do what the whole file would."""
        return self.code != CONFLICT

    @property
    def advice(self) -> str:
        """What the reader can do."""
        general = _ADVICE.get(self.code) or _ADVICE.get(str(self.status)) if not self.hint else self.hint
        again = "repeat the command: this may pass by itself" if self.retryable else ""
        return general or again or "the registry's words above are all that is known; ask its operator"


def from_row(row: ImageRow) -> Failure:
    """A failed image."""
    return Failure(
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


def from_rule(rule: Rule, destinations: tuple[str, ...], fault: Fault) -> Failure:
    """A rule whose tags could not be listed in full."""
    return Failure(
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
    """The causes, most failures first; what is held does not grow with the number of failures."""
    found: dict[tuple[str, str, int, str, str], CauseGroup] = {}
    for failure in failures:
        key = (failure.side, failure.registry, failure.status, failure.code, failure.hint)
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
    return tuple(sorted(found.values(), key=lambda each: -each.count))


def entries(one: CauseGroup) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The examples of a cause as entries of a rules file, each source once."""
    rules: dict[str, dict[str, None]] = {}
    for failure in one.examples:
        rules.setdefault(failure.source, {}).update(dict.fromkeys(failure.destinations))
    return ((source, tuple(names)) for source, names in rules.items())
