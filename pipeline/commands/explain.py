"""`plan --explain`: why rules take a tag or leave it out, stage by stage, and which platforms they keep.

It asks the source for its tag list, and for the manifest of a tag that a rule takes; nothing else.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.commands.job import prepare
from pipeline.config.rule_text import parse_source
from pipeline.errors import Fault, RegistryError, RuleError, UsageError
from pipeline.log import printable
from pipeline.model.faults import untrusted_list
from pipeline.model.messages import (
    FetchManifest,
    HeadManifests,
    ListTags,
    ManifestFetched,
    ManifestsHeaded,
    TagsListed,
)
from pipeline.model.reference import Reference
from pipeline.model.selection import AllTags, Named, pairs, read_name, select, written_name
from pipeline.model.tag_selection import Verdict
from pipeline.model.tree import kept_entries
from pipeline.model.units import format_count, meant
from pipeline.scheduler.tag_pages import TagPages
from pipeline.settings import PAGE
from pipeline.stages.run import make_runner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pipeline.commands.job import Job
    from pipeline.model.manifest import Manifest
    from pipeline.model.messages import Outcome, Task
    from pipeline.model.reference import Repository
    from pipeline.model.selection import Rule
    from pipeline.settings import Options

    Ask = Callable[[Task], Outcome]

_SHOWN = 20
"""Selected tags shown to a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryVerdict:
    """What a rule does with one entry of an index, or with a single image."""

    platform: str
    kept: bool
    reason: str


@dataclass(slots=True, kw_only=True)
class RuleVerdict:
    """What one rule does with a tag, or with the whole list of tags."""

    rule: Rule
    stages: Sequence[Verdict] = ()
    """For a tag: in order; the last one decides."""
    destinations: tuple[str, ...] = ()
    """Of a tag that is taken."""
    platforms: Sequence[EntryVerdict] = ()
    listed: int = 0
    selected: Sequence[str] = ()
    stopped: Mapping[str, int] = field(default_factory=dict)
    """For a list: tags that are left out, by the stage that decides."""

    @property
    def takes(self) -> bool:
        """Whether the rule copies anything of what was asked for."""
        if self.selected:
            return True
        return (
            bool(self.stages)
            and self.stages[-1].passed
            and (not self.platforms or any(each.kept for each in self.platforms))
        )


class Source:
    """The repository in question: its tags and manifests are asked for once."""

    def __init__(self, repository: Repository, ask: Ask) -> None:
        """Nothing has been asked."""
        self._repository, self._ask = repository, ask
        self._tags: list[str] | None = None

    @property
    def tags(self) -> list[str]:
        """All tags.

        Raises:
            RegistryError: they cannot be listed.
        """
        if self._tags is None:
            self._tags = list(dict.fromkeys(self._pages()))
        return self._tags

    def _pages(self) -> Iterator[str]:
        pages = TagPages()
        while True:
            outcome = self._ask(ListTags(repository=self._repository, page=pages.page, count=PAGE))
            assert isinstance(outcome, TagsListed)
            trouble = pages.turn(outcome)
            yield from outcome.tags
            if trouble:
                raise RegistryError(untrusted_list(self._repository, trouble, pages=len(pages.seen)))
            if not pages.page:
                return

    def manifest(self, name: str, *, config: bool) -> Manifest:
        """The top manifest of a tag or digest.

        Raises:
            RegistryError: it cannot be read.
        """
        head = self._ask(HeadManifests(source=Reference(self._repository, name), destinations=()))
        assert isinstance(head, ManifestsHeaded)
        if isinstance(head.source, Fault):
            raise RegistryError(head.source)
        assert head.source is not None
        task = FetchManifest(repository=self._repository, digest=head.source.digest, config=config)
        outcome = self._ask(task)
        assert isinstance(outcome, ManifestFetched)
        return outcome.manifest


def explain(options: Options, environ: Mapping[str, str], *, show: Callable[[str], None]) -> int:
    """Explain; returns the exit code: 0 if a rule takes what was asked for, else 1.

    Raises:
        UsageError, FileError: before anything was asked.
        RegistryError: the source does not answer.
    """
    job = prepare(options, environ)
    repository, tag = _asked(options.explain or "")
    source = Source(repository, _asker(job))
    found = [
        _of_tag(job, rule, source, tag) if tag else _of_list(rule, source)
        for rule in job.rules.rules
        if rule.source == repository
    ]
    name = f"{repository}:{tag}" if tag else str(repository)
    if options.json:
        show(json.dumps(as_object(name, found), ensure_ascii=True))
    else:
        for line in lines(name, found, known=[str(rule.source) for rule in job.rules.rules]):
            show(printable(line))
    return 0 if any(each.takes for each in found) else 1


def _asked(text: str) -> tuple[Repository, str]:
    """The repository and the tag or digest; empty: the whole list."""
    try:
        repository, selection = parse_source(text)
    except RuleError as error:
        raise UsageError(f"--explain {text}: {error}") from error
    if isinstance(selection, AllTags):
        return repository, ""
    if not isinstance(selection, Named) or len(selection.names) > 1:
        raise UsageError(f"--explain {text}: name one tag, or none for the whole repository")
    return repository, selection.names[0]


def _asker(job: Job) -> Ask:
    """Runs a task here, as a worker would.

    Raises:
        RegistryError: by the function, for an outcome that is a failure.
    """
    run = make_runner(job.settings, job.keyring)

    def ask(task: Task) -> Outcome:
        outcome = run(task, lambda _: None, lambda _: None)
        fault = getattr(outcome, "fault", None)
        if fault is not None:
            raise RegistryError(fault)
        return outcome

    return ask


def _of_tag(job: Job, rule: Rule, source: Source, tag: str) -> RuleVerdict:
    name, position = tag, None
    if isinstance(rule.selection, Named):
        for place, each in enumerate(rule.selection.names):
            if tag in (each, written_name(each), read_name(each)):
                name, position = each, place
        reason = "the source names it" if position is not None else f"the source is {rule.text}"
        stages: tuple[Verdict, ...] = (Verdict("named", position is not None, reason),)
    else:
        stages = (*select(rule).explain(tag, source.tags), *_too_few(rule, source))
    found = RuleVerdict(rule=rule, stages=stages)
    if stages[-1].passed:
        found.destinations = tuple(map(str, pairs(rule, name, position)))
        found.platforms = _platforms(job, rule, source, read_name(name))
    return found


def _too_few(rule: Rule, source: Source) -> Iterator[Verdict]:
    """The verdict of the whole rule, where it would fail."""
    selection = select(rule)
    count = len([*selection.add(source.tags), *selection.end()])
    if count < selection.least:
        reason = f"the rule fails: it takes {format_count(count, 'tag')}, {selection.least} are required"
        yield Verdict("at_least", False, reason)


def _platforms(job: Job, rule: Rule, source: Source, name: str) -> list[EntryVerdict]:
    """What is kept of the image's index, or whether a single image is."""
    wanted = job.options.under(rule.options).pruning
    if not wanted.active:
        return []
    origin = f"{wanted.platforms}" + (" (--os, --arch)" if rule.options.platforms is None else "")
    top = source.manifest(name, config=True)
    if top.kind != "index":
        kept = wanted.platforms.matches(top.platform)
        return [EntryVerdict(platform=str(top.platform or "unknown"), kept=kept, reason=origin)]
    left = {id(entry) for entry in kept_entries(top, wanted)}
    return [
        EntryVerdict(
            platform="attestation" if entry.is_attestation else str(entry.platform or "unknown"),
            kept=id(entry) in left,
            reason=f"attestations: {wanted.attestations}"
            if entry.is_attestation
            else origin or "all platforms",
        )
        for entry in top.children
    ]


def _of_list(rule: Rule, source: Source) -> RuleVerdict:
    """What a rule takes of the whole list; which stage stops each of the others."""
    if isinstance(rule.selection, Named):
        return RuleVerdict(rule=rule, selected=rule.selection.names)
    selection, tags = select(rule), source.tags
    selected = dict.fromkeys([*selection.add(tags), *selection.end()])
    stopped: Counter[str] = Counter()
    for tag in tags:
        if tag not in selected:
            # Alone a tag is the newest of its series: what stops it then is a stage before that.
            verdict = selection.explain(tag, [tag])[-1]
            stopped["newest" if verdict.passed else verdict.stage] += 1
    return RuleVerdict(rule=rule, listed=len(tags), selected=[*selected], stopped=stopped)


def lines(name: str, found: Sequence[RuleVerdict], *, known: Sequence[str]) -> Iterator[str]:
    """For a person."""
    if not found:
        yield f"{name}: no rule has this source{meant(name, known)}"
    for each in found:
        rule, copied = each.rule, ", ".join(each.destinations)
        if each.stages:
            outcome = f"copied to {copied}" if each.takes else "not copied"
        elif each.listed:
            outcome = f"{len(each.selected):,} of {format_count(each.listed, 'tag')}"
        else:
            outcome = f"names {format_count(len(each.selected), 'tag')}"
        yield f"{name}: rule {rule.text} ({rule.place}): {outcome}"
        for stage in each.stages:
            yield f"  {stage.stage:<12} {'passes' if stage.passed else 'STOPS':<6}  {stage.reason}"
        for entry in each.platforms:
            yield f"  {entry.platform:<12} {'kept' if entry.kept else 'LEFT OUT':<8}  {entry.reason}"
        if each.selected:
            more = f" and {len(each.selected) - _SHOWN:,} more" if len(each.selected) > _SHOWN else ""
            yield f"  selected: {', '.join(each.selected[:_SHOWN])}{more}"
        for stage_name, count in each.stopped.items():
            yield f"  stopped by {stage_name}: {count:,}"


def as_object(name: str, found: Sequence[RuleVerdict]) -> dict[str, Any]:
    """For a program."""
    return {
        "image": name,
        "rules": [
            {
                "rule": each.rule.text,
                "place": each.rule.place,
                "copied": each.takes,
                "destinations": list(each.destinations),
                "stages": [stage._asdict() for stage in each.stages],
                "platforms": [
                    {"platform": entry.platform, "kept": entry.kept, "reason": entry.reason}
                    for entry in each.platforms
                ],
                "listed": each.listed,
                "selected": list(each.selected),
                "stopped": dict(each.stopped),
            }
            for each in found
        ],
    }
