"""The output of `plan --explain`: lines for a person, an object for a program."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal

from pipeline.dataclass import dataclass
from pipeline.model.units import format_count, meant

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pipeline.model.tag_selection import StageVerdict

_SHOWN = 20
"""Maximum number of selected tags shown to a person."""

DestinationResult = Literal["copied", "kept", "held", "conflict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationVerdict:
    """What a rule does with a tag at one destination."""

    destination: str
    result: DestinationResult
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryVerdict:
    """What a rule does with one entry of an index, or with a single image."""

    platform: str
    kept: bool
    reason: str


@dataclass(slots=True, kw_only=True)
class RuleVerdict:
    """What one rule does with a tag, or with the whole list of tags."""

    rule: str
    """As written."""
    place: str
    stages: Sequence[StageVerdict] = ()
    """For a tag or an invalid rule: in order; the last one decides."""
    destinations: Sequence[DestinationVerdict] = ()
    """Of a tag that passes the stages."""
    platforms: Sequence[EntryVerdict] = ()
    listed: int = 0
    selected: Sequence[str] = ()
    stopped: Mapping[str, int] = field(default_factory=dict)
    """For a list: tags that are left out, by the stage that decides."""
    waiting: Mapping[str, int] = field(default_factory=dict)
    """For a list: how many of the selected tags are not written, by reason."""

    @property
    def takes(self) -> bool:
        """Whether the rule selects any of the requested tags."""
        if not self.stages:
            return bool(self.selected)
        return self.stages[-1].passed and any(each.result != "conflict" for each in self.destinations)


def lines(name: str, found: Sequence[RuleVerdict], *, known: Sequence[str]) -> Iterator[str]:
    """For a person."""
    if not found:
        yield f"{name}: no rule has this source{meant(name, known)}"
    for each in found:
        yield f"{name}: rule {each.rule} ({each.place}): {_outcome(each)}"
        for stage in each.stages:
            yield f"  {stage.stage:<12} {'passes' if stage.passed else 'STOPS':<6}  {stage.reason}"
        for entry in each.platforms:
            yield f"  {entry.platform:<12} {'kept' if entry.kept else 'LEFT OUT':<8}  {entry.reason}"
        for there in each.destinations:
            if there.reason:
                yield f"  {there.destination}: {there.result}: {there.reason}"
        if each.selected:
            more = f" and {len(each.selected) - _SHOWN:,} more" if len(each.selected) > _SHOWN else ""
            yield f"  selected: {', '.join(each.selected[:_SHOWN])}{more}"
        for stage_name, count in each.stopped.items():
            yield f"  stopped by {stage_name}: {count:,}"
        for why, count in each.waiting.items():
            yield f"  {why}: {count:,}"


def _outcome(found: RuleVerdict) -> str:
    """The result in a few words."""
    if found.stages:
        words = {"copied": "copied to", "kept": "kept at", "held": "held back from", "conflict": "lost at"}
        parts = [
            f"{how} {', '.join(there)}"
            for result, how in words.items()
            if (there := [each.destination for each in found.destinations if each.result == result])
        ]
        return "; ".join(parts) or "not copied"
    if found.listed:
        return f"{len(found.selected):,} of {format_count(found.listed, 'tag')}"
    return f"names {format_count(len(found.selected), 'tag')}"


def as_object(name: str, found: Sequence[RuleVerdict]) -> dict[str, Any]:
    """For a program."""
    return {
        "image": name,
        "rules": [
            {
                "rule": each.rule,
                "place": each.place,
                "copied": bool(each.selected) or any(there.result == "copied" for there in each.destinations),
                "destinations": [there.destination for there in each.destinations],
                "results": [
                    {"destination": there.destination, "result": there.result, "reason": there.reason}
                    for there in each.destinations
                ],
                "stages": [stage._asdict() for stage in each.stages],
                "platforms": [
                    {"platform": entry.platform, "kept": entry.kept, "reason": entry.reason}
                    for entry in each.platforms
                ],
                "listed": each.listed,
                "selected": list(each.selected),
                "stopped": dict(each.stopped),
                "waiting": dict(each.waiting),
            }
            for each in found
        ],
    }
