"""Rules as data: a source, the selected tags or digests, and the destinations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.model.reference import Reference, is_digest
from pipeline.model.rule_options import NO_OPTIONS, RuleOptions, TagOptions
from pipeline.model.tag_selection import TagSelection
from pipeline.model.template import TAG

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.model.expansion import Expansion
    from pipeline.model.options import ImageOptions
    from pipeline.model.reference import Repository
    from pipeline.model.tag_selection import TagTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class AllTags:
    """Every tag of the repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Tags and digests that the rule names, in order."""

    names: tuple[str, ...]
    """Each is a tag, a digest, or `tag@digest`, which is read by digest and written under the tag."""


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
    """One for each name of the rule's Named; None: keep the source's tag or digest.

    `tag@digest` is written under the tag, and only if the content has that digest.
    """
    tag: str = ""
    """The tag to write, if it is made from the source's tag, which TAG stands for; empty: as above."""

    def written(self, name: str, position: int | None) -> str:
        """The tag or digest to write for the source's tag, digest, or `tag@digest`.

        Args:
            name: from the rule or a tag list.
            position: index of the name in the rule's Named; None: it comes from a tag list.
        """
        if self.tag:
            return self.tag.replace(TAG, written_name(name))
        if self.names is None:
            return written_name(name)
        assert position is not None
        return written_name(self.names[position])


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of the rules file."""

    number: int
    """Position among all rules, from 0; the first rule wins a destination tag."""
    line: int
    """1-based line in the file; 0: the rule comes from the command line."""
    text: str
    """The source as the user wrote it."""
    source: Repository
    selection: Selection
    targets: tuple[Target, ...]
    options: RuleOptions = NO_OPTIONS
    """The options of the rule and of the file's `.defaults`; what they do not state is left to the flags."""
    file: str = ""
    """The file, where the run reads several."""
    expansion: Expansion | None = None
    """Of a source with a `*`, whose fixed part `source` is; it has no targets until it is expanded."""
    written: tuple[str, ...] = ()
    """Its destinations as the user wrote them, of a source with a `*`."""
    is_child: bool = False
    """Whether it is one of the rules that such a rule has become."""

    @property
    def place(self) -> str:
        """`line 7`, `line 7 of images.yaml`, or `the command line`."""
        if not self.line:
            return "the command line"
        return f"line {self.line}" + (f" of {self.file}" if self.file else "")

    def required_digest(self, destination: Reference) -> str:
        """The digest that the rule requires at a destination; empty: any."""
        wanted = (
            name
            for target in self.targets
            if target.repository == destination.repository
            for name in target.names or ()
            if written_name(name) == destination.name
        )
        return next(filter(is_digest, map(read_name, wanted)), "")


def read_name(name: str) -> str:
    """The tag or digest to read for a name of a rule: the digest of `tag@digest`."""
    return name.rpartition("@")[2]


def written_name(name: str) -> str:
    """The tag or digest to write for a name of a rule: the tag of `tag@digest`."""
    return name.partition("@")[0]


def with_digest(destination: Reference, digest: str) -> str:
    """The destination in a rule's syntax, with the required digest if there is one."""
    return f"{destination}@{digest}" if digest and not destination.is_digest else str(destination)


def companion_takers(rules: Iterable[Rule], options: Mapping[int, ImageOptions]) -> set[int]:
    """Numbers of the rules that copy tags that list companions like any other tags.

    Rules that say nothing of tags: so those arrive that belong to no image that is copied. Elsewhere they
    follow their image, or are not wanted.
    """
    found = set[int]()
    for rule in rules:
        wanted = options[rule.number].referrers
        chosen = wanted.written and (wanted.when == "no" or wanted.types)
        if not (isinstance(rule.selection, Named) or rule.options.tags or chosen):
            found.add(rule.number)
    return found


def select(rule: Rule, *, companions: bool = True, times: TagTimes | None = None) -> TagSelection:
    """The selection of a rule's tags from a list.

    Args:
        rule: a rule with AllTags or Matching; Named needs no list.
        companions: as `companion_takers` says.
        times: when tags were pushed and seen.

    Raises:
        RuleError: as `TagSelection`.
    """
    assert not isinstance(rule.selection, Named)
    options = rule.options.tags or TagOptions()
    if isinstance(rule.selection, Matching):
        options = replace(options, include=(f"/{rule.selection.pattern}/",))
    if rule.is_child and options.at_least is None:
        options = replace(options, at_least=0)
    plain, whole = rule.options.tags is None, rule.options.keep is not None or rule.is_child
    return TagSelection(options, plain=plain, companions=plain and companions, whole=whole, times=times)


def pairs(rule: Rule, name: str, position: int | None) -> tuple[Reference, ...]:
    """The destinations of one source tag or digest, in the rule's order, each once.

    Args:
        rule: the rule.
        name: the source's tag, digest, or `tag@digest`, from the rule or the tag list.
        position: index of the name in the rule's Named; None: the name comes from a tag list.
    """
    found = (Reference(target.repository, target.written(name, position)) for target in rule.targets)
    return tuple(dict.fromkeys(found))
