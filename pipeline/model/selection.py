"""Rules as data: a source, which of its tags or digests, and where they go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.model.reference import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class AllTags:
    """Every tag of the repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Tags and digests that the rule names, in order."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """Every tag in which the RE2 expression matches anywhere."""

    pattern: str


Selection = AllTags | Named | Matching


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One destination of a rule."""

    repository: Repository
    names: tuple[str, ...] | None = None
    """By position, as many as the rule's Named; None: each keeps the source's tag or digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of the rules file."""

    number: int
    """Place in the file, from 0; the rule that stands first wins a destination tag."""
    line: int
    """1-based line in the file; 0 where the rule came from the command line."""
    text: str
    """The source as the user wrote it."""
    source: Repository
    selection: Selection
    targets: tuple[Target, ...]
