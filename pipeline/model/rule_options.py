"""Options of a rule as data: what a rules file may state for one source, or for all in `.defaults`.

Each field has its kind and its description, which the reader of files and the schema for editors share. None
means that it is not stated. Each field is taken from the rule, else from `.defaults`, else from the flags.
"""

from __future__ import annotations

from dataclasses import field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pipeline.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.model.platform import Filter
    from pipeline.model.pruning import Attestations, IndexForm
    from pipeline.model.referrers import Referrers

OptionKind = Literal[
    "text",
    "texts",
    "literals",
    "patterns",
    "versions",
    "count",
    "switch",
    "choice",
    "platforms",
    "referrers",
    "time",
    "moment",
    "map",
]
"""How a value is written; texts, literals, patterns, versions and platforms: one text or a list of them."""

Per = Literal["series", "minor", "major", "repository"]
By = Literal["numbers", "pushed", "seen"]
_Options = TypeVar("_Options", "RuleOptions", "TagOptions", "RepositoryOptions")

_METADATA = "option"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionField:
    """The properties of an option."""

    kind: OptionKind
    about: str
    """For users: editors show it."""
    choices: tuple[str, ...] = ()
    """The words allowed as a value; for a list, the words allowed instead of it."""
    least: int = 0
    """The minimum of a count, or of the length of a list."""
    owner: type | None = None
    """Of a map: the class of its fields."""


def _option(kind: OptionKind, about: str, **more: Any) -> Any:
    """A field that is not stated by default."""
    return field(default=None, metadata={_METADATA: OptionField(kind=kind, about=about, **more)})


@dataclass(frozen=True, slots=True, kw_only=True)
class TagOptions:
    """Which tags of a source are selected; the stages apply in this order."""

    include: tuple[str, ...] | None = _option(
        "patterns",
        "Tags that are wanted: a tag, a glob (* ? [a-z]) of the whole tag, or /RE2/ anywhere in it.",
        least=1,
    )
    exclude: tuple[str, ...] | None = _option(
        "patterns", "Tags that are not wanted, in the same forms; it wins over include."
    )
    versions: tuple[str, ...] | None = _option(
        "versions",
        "Ranges of the leading version of a tag: >=1.25 <2, 1.25.x, ~1.25, ^1.25. A space or a comma is"
        " an and, a list an or. A tag without a version is out.",
        least=1,
    )
    prereleases: bool | None = _option(
        "switch",
        "Whether tags with a word such as rc, alpha, beta or nightly pass. Not written: only without"
        " versions and newest.",
    )
    since: str | None = _option(
        "moment",
        "Tags that were pushed since then: 90d, or 2026-01-01. A registry whose listing has no dates fails"
        " the rule.",
    )
    newest: int | None = _option(
        "count",
        "How many of the newest tags of each series: of the tags that differ only in their numbers.",
        least=1,
    )
    per: Per | None = _option(
        "choice", "What newest counts in.", choices=("series", "minor", "major", "repository")
    )
    by: By | None = _option(
        "choice",
        "What counts as newer: greater numbers, a later push, or a later first sight in the records.",
        choices=("numbers", "pushed", "seen"),
    )
    always: tuple[str, ...] | None = _option(
        "literals", "Tags that are selected whatever the other options say; a missing one fails alone."
    )
    at_least: int | None = _option(
        "count",
        "With fewer tags the rule fails before anything is copied. Not written: 1 with include, versions"
        " or newest, else 0.",
    )

    @property
    def need_dates(self) -> bool:
        """Whether they depend on when tags were pushed."""
        return self.since is not None or (self.by == "pushed" and self.newest is not None)

    def over(self, farther: TagOptions) -> TagOptions:
        """These options, and those of `farther` that these do not state."""
        return _over(self, farther)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryOptions:
    """Which repositories of a source with `*`."""

    include: tuple[str, ...] | None = _option("texts", "Repositories that are wanted, below the fixed part.")
    exclude: tuple[str, ...] | None = _option("texts", "Repositories that are not wanted; it wins.")

    def over(self, farther: RepositoryOptions) -> RepositoryOptions:
        """These options, and those of `farther` that these do not state."""
        return _over(self, farther)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOptions:
    """The options of a rule."""

    to: tuple[str, ...] | None = _option(
        "texts",
        "Destinations. {registry} {path} {namespace} {name} {rest} {flat} {tag} are replaced by parts"
        " of the source; a / at the end appends {rest}.",
        least=1,
    )
    tags: TagOptions | None = _option(
        "map", "Which tags, if the source names none: patterns, or stages.", owner=TagOptions
    )
    platforms: Filter | None = _option(
        "platforms",
        "Entries of an index that are kept: os/arch, os/arch/variant, os:version/arch; or all.",
        choices=("all",),
        least=1,
    )
    index: IndexForm | None = _option(
        "choice",
        "What is written where entries are left out: a new index, the one child, or the original index.",
        choices=("trim", "single", "sparse"),
    )
    attestations: Attestations | None = _option(
        "choice", "What becomes of BuildKit's attestations in an index.", choices=("keep", "drop")
    )
    referrers: Referrers | None = _option(
        "referrers",
        "Signatures and SBOMs that come along: none, those of copied images, also those of unchanged ones, or"
        " globs of artifact types; {when: always, types: [...]} says both.",
        choices=("no", "copied", "always"),
        least=1,
    )
    repositories: RepositoryOptions | None = _option(
        "map", "Which repositories of a source with *.", owner=RepositoryOptions
    )
    keep: tuple[str, ...] | None = _option(
        "patterns", "Tags of the destination that are never moved once they are there."
    )
    min_age: float | None = _option(
        "time", "How long ago a digest must have been seen first before it is copied: 72h, 3d."
    )
    optional: bool | None = _option("switch", "Whether a failure leaves the exit code as it is.")
    retries: int | None = _option("count", "Retry rounds for failed images.")
    force: bool | None = _option("switch", "Whether images are pushed that the destination has already.")

    def over(self, farther: RuleOptions) -> RuleOptions:
        """These options, and those of `farther` that these do not state, also inside the maps."""
        return _over(self, farther)


NO_OPTIONS = RuleOptions()

NOT_BUILT: Mapping[str, frozenset[str]] = {
    "delete": frozenset(),
    "every": frozenset(),
}
"""Options without effect yet, by name: the values that are refused; empty: every value."""


def option_fields(owner: type) -> Mapping[str, OptionField]:
    """The options that a class holds, by name."""
    return {each.name: each.metadata[_METADATA] for each in fields(owner)}


def plain_options(options: RuleOptions | TagOptions | RepositoryOptions) -> dict[str, Any]:
    """The options as a rules file writes them: texts, numbers, lists and maps."""
    said = ((each.name, getattr(options, each.name)) for each in fields(options))
    return {name: _plain(name, value) for name, value in said if value is not None}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, TagOptions | RepositoryOptions):
        return plain_options(value)
    if name == "platforms":
        return [*value.alternatives] or "all"
    if name == "referrers":
        return {"when": value.when, "types": [*value.types]} if value.types else value.when
    if name == "min_age":
        return f"{value:.0f}s"
    return [*value] if isinstance(value, tuple) else value


def _over(nearer: _Options, farther: _Options) -> _Options:
    changed = {}
    for name in (each.name for each in fields(nearer)):
        mine, other = getattr(nearer, name), getattr(farther, name)
        if mine is None or other is None:
            changed[name] = other if mine is None else mine
        else:
            changed[name] = mine.over(other) if isinstance(mine, TagOptions | RepositoryOptions) else mine
    return replace(nearer, **changed)
