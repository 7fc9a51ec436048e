"""Referrers as data: artifacts that belong to a manifest, and which of them are copied."""

from __future__ import annotations

from dataclasses import field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, ClassVar, Literal

from pipeline.dataclass import dataclass
from pipeline.errors import RuleError
from pipeline.model.task import Ask, ProcLimit, TaskFacts
from pipeline.model.units import meant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipeline.model.messages import Stage
    from pipeline.model.reference import Repository

When = Literal["no", "copied", "always"]
"""no: never; copied: with an image that is copied; always: also with an unchanged one."""

_WHENS: Mapping[str, When] = {"no": "no", "copied": "copied", "always": "always"}

MAX_REFERRERS_DEPTH = 8
"""Maximum depth of referrers of referrers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Referrer:
    """An artifact with a subject, such as a signature, an SBOM or an attestation."""

    media_type: str
    """Of its manifest."""
    digest: str
    artifact_type: str
    """Empty: the list does not state it."""
    entry: bytes = field(default=b"", compare=False)
    """The entry of the list as JSON: it may have annotations that the manifest lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListReferrers(TaskFacts):
    """Request a source's companions of a manifest: its referrers, and cosign's tags."""

    stage: ClassVar[Stage] = "resolve"
    bound: ClassVar[ProcLimit] = "resolve"
    repository: Repository
    digest: str
    api: bool
    """Whether to ask the referrers API."""
    fallback: bool | None
    """Whether the fallback tag exists; None: unknown, so it is read if there is no API."""
    tags: tuple[str, ...] = ()
    """cosign's tags that exist, or may exist."""
    need: str
    """Key of the list in the scheduler's ledger."""

    key: str = field(init=False, repr=False, compare=False)

    def identity(self) -> str:
        """The list."""
        return f"referrers {self.need}"

    @property
    def asks(self) -> tuple[Ask, ...]:
        """The repository."""
        return (Ask(self.repository, "source"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Referrers:
    """Which companions of an image are copied: referrers, and cosign's tags."""

    when: When = "copied"
    types: tuple[str, ...] = ()
    """Globs of artifact types; empty: all."""
    written: bool = True
    """Whether the user asked for them: then a companion that cannot be copied fails its image."""

    def wants(self, types: Iterable[str]) -> bool:
        """Whether an artifact of one of these types is copied."""
        return not self.types or any(fnmatchcase(kind, each) for each in self.types for kind in types)


NO_REFERRERS = Referrers(when="no", written=False)


def parse_when(text: str) -> When:
    """Parse one of the words.

    Raises:
        RuleError: it is another word.
    """
    if text not in _WHENS:
        raise RuleError(
            f"{text!r} is neither an artifact type nor a word for it{meant(text, _WHENS)}",
            hint="write no, copied, always, or types like application/vnd.dev.sigstore.bundle*",
        )
    return _WHENS[text]


def parse_referrers(texts: Sequence[str]) -> Referrers:
    """Parse the value of a rule or of the command line: one word, or globs of artifact types.

    Raises:
        RuleError: it is neither.
    """
    types = tuple(text for text in texts if "/" in text or "*" in text)
    words = [text for text in texts if text not in types]
    if words and len(texts) > 1:
        raise RuleError(f"{words[0]!r} is not an artifact type", hint="a list holds artifact types only")
    return Referrers(types=types) if types else Referrers(when=parse_when(words[0]))
