"""Rules as data: a source, the selected tags or digests, and the destinations.

Expressions are RE2, as in existing rules files: Python's `re` reads some of them differently (`[[:alpha:]]`),
rejects others (`(?<name>x)`), and takes exponential time for a few.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from pipeline.errors import RuleError
from pipeline.model.reference import Reference, is_digest, is_tag
from pipeline.model.rule_options import NO_OPTIONS, RuleOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.model.reference import Repository

Matcher = Callable[[str], bool]
"""Whether an expression matches anywhere in a tag."""

_ESCAPES = re.compile(r"\\Q.*?(?:\\E|\Z)|\\(.)", re.DOTALL)
"""Quoted text, or one escape sequence."""


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
    """The tag to write, with {tag} for the source's; empty: as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of the rules file."""

    number: int
    """Position in the file, from 0; the first rule wins a destination tag."""
    line: int
    """1-based line in the file; 0: the rule comes from the command line."""
    text: str
    """The source as the user wrote it."""
    source: Repository
    selection: Selection
    targets: tuple[Target, ...]
    options: RuleOptions = NO_OPTIONS
    """What the rule and the file's `.defaults` say; None in it is left to the flags."""

    @property
    def place(self) -> str:
        """`line 7`, or `the command line`."""
        return f"line {self.line}" if self.line else "the command line"

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


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Matcher:
    """Compile an RE2 expression as Go's regexp reads it; linear in time on any input.

    Raises:
        RuleError: the expression is invalid (with RE2's message), or google-re2 is not installed.
    """
    try:
        import re2  # noqa: PLC0415 - only rules with an expression need it
    except ImportError:
        raise RuleError("regular expressions need the package google-re2, which is not installed") from None
    if not hasattr(re2, "Options"):
        raise RuleError("regular expressions need google-re2, but another package provides the module re2")
    options = re2.Options()
    # Otherwise RE2 writes errors to standard error.
    options.log_errors = False
    try:
        expression = re2.compile(pattern, options)
    except re2.error as error:
        words = error.args[0] if error.args else "not understood"
        words = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
        raise RuleError(f"invalid regular expression /{pattern}/: {words}") from None
    except UnicodeEncodeError:
        raise RuleError(
            f"invalid regular expression {pattern!r}: it holds half of a surrogate pair"
        ) from None
    if any(found[1] == "C" for found in _ESCAPES.finditer(pattern)):
        raise RuleError(f"invalid regular expression /{pattern}/: \\C, a single byte, is not supported")
    return lambda tag: expression.search(tag) is not None


def select(rule: Rule, tags: Iterable[str]) -> Iterator[str]:
    """Select a rule's tags from one page of a tag list, in the page's order, each once.

    Args:
        rule: a rule with AllTags or Matching; Named needs no list.
        tags: as the registry sent them; invalid tags are dropped.

    Raises:
        RuleError: as `compile_pattern`.
    """
    assert not isinstance(rule.selection, Named)
    wanted = compile_pattern(rule.selection.pattern) if isinstance(rule.selection, Matching) else is_tag
    return (tag for tag in dict.fromkeys(tags) if is_tag(tag) and wanted(tag))


def pairs(rule: Rule, name: str, position: int | None) -> tuple[Reference, ...]:
    """The destinations of one source tag or digest, in the rule's order, each once.

    Args:
        rule: the rule.
        name: the source's tag, digest, or `tag@digest`, from the rule or the tag list.
        position: index of the name in the rule's Named; None: the name comes from a tag list.
    """
    found = []
    for target in rule.targets:
        new = name
        if target.names is not None:
            assert position is not None
            new = target.names[position]
        found.append(Reference(target.repository, written_name(new)))
    return tuple(dict.fromkeys(found))
