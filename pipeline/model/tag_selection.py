"""The selection of a rule's tags: stages in a fixed order, page by page and in bounded memory.

A tag passes a stage or is stopped by it; inside a list one match is enough. `newest` is the only stage that
compares tags, and holds no more of a list than what it selects.
"""

from __future__ import annotations

import re
from dataclasses import field
from typing import TYPE_CHECKING, NamedTuple

from pipeline.dataclass import dataclass
from pipeline.model.newest import NewestTags
from pipeline.model.patterns import tag_matcher
from pipeline.model.reference import is_tag
from pipeline.model.units import parse_moment
from pipeline.model.versions import admits, is_prerelease, parse_range, version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pipeline.model.rule_options import TagOptions

_COMPANION = re.compile(r"(?:sha256-[0-9a-f]{64}|sha512-[0-9a-f]{128})(?:\..*)?")
"""Tags of signatures and SBOMs: they are copied with their image, or not at all."""


class StageVerdict(NamedTuple):
    """The verdict of one stage on a tag."""

    stage: str
    """The option's name; `list` comes before all options."""
    passed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class _Stage:
    """A stage that judges each tag by itself."""

    name: str
    passes: Callable[[str], bool]
    yes: str
    """Why a tag passes; `no`: why it does not."""
    no: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TagTimes:
    """When tags were pushed and seen, in seconds since 1970."""

    now: float = 0.0
    """When the run began."""
    pushed: Callable[[str], float] = field(default=lambda _: 0.0)
    seen: Callable[[str], float] = field(default=lambda _: 0.0)


class TagSelection:
    """The tags that a rule selects from one list: each page is added, then the list ends."""

    def __init__(
        self,
        options: TagOptions,
        *,
        plain: bool = False,
        companions: bool | None = None,
        whole: bool = False,
        times: TagTimes | None = None,
    ) -> None:
        """Begin with an empty list.

        Args:
            options: the stages; the expression of a rule's source is their include.
            plain: whether the rule says nothing of tags: then an empty selection is no failure.
            companions: whether tags that list companions are tags like others; None: in a plain rule.
            whole: whether nothing may be given out before the list has ended, whatever the stages are.
            times: for `since`, `by: pushed` and `by: seen`.

        Raises:
            RuleError: a pattern or a range is invalid.
        """
        self._always = dict.fromkeys(options.always or ())
        self._missing = dict(self._always)
        times = times or TagTimes()
        taken = plain if companions is None else companions
        self._stages = tuple(_stages(options, times, companions=taken))
        self._make_newest = _newest(options, times)
        self._newest = self._make_newest()
        self._held: dict[str, None] = {}
        self.selected = 0
        """Tags given out so far."""
        self.whole = whole or self._newest is not None or options.need_dates or bool(options.at_least)
        """Whether nothing is given out before the list has ended."""
        demanding = not plain and any((options.include, options.versions, options.newest))
        self.least = int(demanding) if options.at_least is None else options.at_least
        """The rule fails if fewer tags are selected."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Tags that `always` names and the list lacks."""
        return tuple(self._missing)

    @property
    def unordered(self) -> int:
        """Tags that `newest` left out because they have no number."""
        return self._newest.unordered if self._newest is not None else 0

    def add(self, tags: Iterable[str]) -> list[str]:
        """Add one page as the registry sent it; returns the selected tags that need not wait."""
        chosen = [tag for tag in dict.fromkeys(tags) if self._takes(tag)]
        if not self.whole:
            self.selected += len(chosen)
            return chosen
        for tag in chosen:
            if self._newest is None or tag in self._always:
                self._held[tag] = None
            else:
                self._newest.add(tag)
        return []

    def end(self) -> list[str]:
        """End the list; returns the selected tags that waited for that."""
        chosen = [*(self._newest or ()), *self._held]
        self._held.clear()
        self.selected += len(chosen)
        return chosen

    def explain(self, tag: str, tags: Iterable[str]) -> tuple[StageVerdict, ...]:
        """The verdicts of the stages on a tag, in order, up to the one that decides.

        Args:
            tag: any tag.
            tags: the whole list.
        """
        listed = dict.fromkeys(tags)
        if tag in listed:
            found = [StageVerdict("list", True, "the source has it")]
            found += self._judged(tag, listed)
        else:
            found = [StageVerdict("list", False, "the source does not have it")]
        if tag in self._always and not found[-1].passed:
            is_there = tag in listed
            reason = "it is named" if is_there else "it is named, so it fails alone"
            found.append(StageVerdict("always", is_there, reason))
        return tuple(found)

    def _judged(self, tag: str, listed: Iterable[str]) -> Iterator[StageVerdict]:
        for stage in self._stages:
            passed = stage.passes(tag)
            yield StageVerdict(stage.name, passed, stage.yes if passed else stage.no)
            if not passed:
                return
        newest = self._make_newest()
        if newest is not None:
            for each in listed:
                if each not in self._always and self._passes(each):
                    newest.add(each)
            newest.add(tag)
            yield StageVerdict("newest", *newest.why(tag))

    def _takes(self, tag: str) -> bool:
        if tag in self._always:
            self._missing.pop(tag, None)
            return True
        return self._passes(tag)

    def _passes(self, tag: str) -> bool:
        return is_tag(tag) and all(stage.passes(tag) for stage in self._stages)


def _newest(options: TagOptions, times: TagTimes) -> Callable[[], NewestTags | None]:
    count, per, by = options.newest, options.per or "series", options.by or "numbers"
    time = {"seen": times.seen, "pushed": times.pushed}.get(by)
    return lambda: NewestTags(count, per=per, by=by, time=time) if count else None


def _stages(options: TagOptions, times: TagTimes, *, companions: bool) -> Iterator[_Stage]:
    """The stages that judge each tag by itself, in order."""
    if not companions:
        yield _Stage(
            "tags",
            lambda tag: _COMPANION.fullmatch(tag) is None,
            "it is an image's",
            "it belongs to an image",
        )
    if options.include is not None:
        text = ", ".join(options.include)
        yield _Stage("include", _any_of(options.include), f"it matches {text}", f"it matches none of {text}")
    if options.exclude is not None:
        text, matches = ", ".join(options.exclude), _any_of(options.exclude)
        yield _Stage(
            "exclude", lambda tag: not matches(tag), f"it matches none of {text}", f"it matches {text}"
        )
    if options.versions is not None:
        ranges, text = [parse_range(each) for each in options.versions], " or ".join(options.versions)
        yield _Stage(
            "versions",
            lambda tag: (found := version(tag)) is not None and admits(ranges, found),
            f"its version is in {text}",
            f"it has no version in {text}",
        )
    wanted = options.prereleases
    if not (options.versions is None and options.newest is None if wanted is None else wanted):
        yield _Stage(
            "prereleases", lambda tag: not is_prerelease(tag), "it is not a prerelease", "it is a prerelease"
        )
    if options.since is not None:
        since = parse_moment(options.since, times.now) or 0.0
        text = f"pushed since {options.since}"
        yield _Stage("since", lambda tag: times.pushed(tag) >= since, f"it was {text}", f"it was not {text}")


def _any_of(patterns: Iterable[str]) -> Callable[[str], bool]:
    matchers = [tag_matcher(pattern) for pattern in patterns]
    return lambda tag: any(matches(tag) for matches in matchers)
