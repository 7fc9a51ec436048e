"""`plan --explain`: why rules take a tag or leave it out, stage by stage, and what they do with it.

It decides with the functions of a run, and asks only for what the answer needs: the source's list of tags,
its manifests where entries may be left out, what destinations have where that matters, and the lists of
sources that other rules write to the same repository. The records are read, and nothing is written.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING

from pipeline.commands.explain_asking import Asking
from pipeline.commands.explain_output import (
    DestinationVerdict,
    EntryVerdict,
    RuleVerdict,
    as_object,
    lines,
)
from pipeline.commands.job import prepare
from pipeline.config.rule_text import parse_source
from pipeline.errors import ManifestError, RegistryError, RuleError, UsageError
from pipeline.log import printable
from pipeline.model.expansion import expanded
from pipeline.model.patterns import tag_matcher
from pipeline.model.reference import Reference
from pipeline.model.selection import AllTags, Named, pairs, read_name, select, written_name
from pipeline.model.tag_selection import StageVerdict, TagTimes
from pipeline.model.tree import Skip, prune
from pipeline.model.units import format_count
from pipeline.records.scratch import scratch_records
from pipeline.scheduler.quarantine import why_young

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from pipeline.commands.job import Job
    from pipeline.config.rules import BadRule
    from pipeline.model.facts import Facts
    from pipeline.model.manifest import Manifest
    from pipeline.model.options import ImageOptions
    from pipeline.model.pruning import Pruning
    from pipeline.model.reference import Repository
    from pipeline.model.selection import Rule
    from pipeline.model.tag_selection import TagSelection
    from pipeline.settings import Options

    _Writer = tuple[Rule, str]
    """A rule, and the name that it writes from its source."""


def explain(options: Options, environ: Mapping[str, str], *, show: Callable[[str], None]) -> int:
    """Explain; returns the exit code: 0 if a rule selects the image, else 1.

    Raises:
        UsageError, FileError: before any request.
        RegistryError: the source does not answer.
        MachineError: the records cannot be read.
    """
    job = prepare(options, environ)
    repository, tag = _asked(options.explain or "")
    opened = scratch_records(job.settings.records, run="explain") if _needs_records(job) else nullcontext()
    with opened as made:
        facts, events = made or (None, ())
        explanation = _Explanation(job, facts)
        found = [
            explanation.of_tag(rule, tag) if tag else explanation.of_list(rule)
            for rule in _rules_of(job.rules.rules, repository)
        ]
    found += [_of_invalid(bad) for bad in job.rules.bad if _reads(bad, repository)]
    name = f"{repository}:{tag}" if tag else str(repository)
    if options.json:
        show(json.dumps(as_object(name, found), ensure_ascii=True))
    else:
        for event in events:
            show(printable(event.message))
        for line in lines(name, found, known=[str(rule.source) for rule in job.rules.rules]):
            show(printable(line))
    return 0 if any(each.takes for each in found) else 1


def _rules_of(rules: Iterable[Rule], repository: Repository) -> Iterator[Rule]:
    """The rules of a repository; a matching pattern is expanded for it, whether it is listed or not."""
    for rule in rules:
        if rule.expansion is None:
            yield from (rule,) if rule.source == repository else ()
        elif rule.expansion.takes(repository):
            yield expanded(rule, repository.path)


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


def _needs_records(job: Job) -> bool:
    """Whether it matters when tags were first seen."""
    said = [rule.options for rule in job.rules.rules]
    return any(each.min_age or (each.tags and each.tags.by == "seen") for each in said)


def _reads(bad: BadRule, repository: Repository) -> bool:
    with suppress(RuleError):
        return parse_source(bad.text)[0] == repository
    return False


def _of_invalid(bad: BadRule) -> RuleVerdict:
    reason = f"{bad.reason} ({bad.hint})" if bad.hint else bad.reason
    return RuleVerdict(rule=bad.text, place=bad.place, stages=(StageVerdict("rule", False, reason),))


class _Explanation:
    """Explains the rules of a job.

    Args:
        job: the job.
        facts: the records; None: no rule needs them.
    """

    def __init__(self, job: Job, facts: Facts | None) -> None:
        """See the class."""
        self._job, self._facts, self._now = job, facts, time.time()
        self._asking = Asking(job)
        self._chosen: dict[int, Sequence[tuple[str, int | None]]] = {}

    def of_tag(self, rule: Rule, tag: str) -> RuleVerdict:
        """What a rule does with one tag or digest of its source."""
        found = RuleVerdict(rule=rule.text, place=rule.place)
        if isinstance(rule.selection, Named):
            name, position, stages = self._named(rule, rule.selection, tag)
        else:
            name, position, stages = tag, None, self._listed(rule, tag)
        source = Reference(rule.source, read_name(name))
        wanted = self._options(rule).pruning
        if stages[-1].passed and wanted.active:
            found.platforms, failed = self._pruned(source, wanted, self._origin(rule))
            stages += failed
        found.stages = stages
        if stages[-1].passed:
            targets = pairs(rule, name, position)
            found.destinations = [self._outcome(rule, source, target) for target in targets]
        return found

    def of_list(self, rule: Rule) -> RuleVerdict:
        """What a rule selects from the whole list, what drops the others, and what is not written."""
        found = RuleVerdict(rule=rule.text, place=rule.place)
        if isinstance(rule.selection, Named):
            found.selected = rule.selection.names
        else:
            selection, tags = self._select(rule), self._asking.tags(rule.source)
            selected = dict.fromkeys([*selection.add(tags), *selection.end()])
            stopped: Counter[str] = Counter()
            for tag in tags:
                if tag not in selected:
                    # Alone a tag is the newest of its series, so an earlier stage is what drops it.
                    verdict = selection.explain(tag, [tag])[-1]
                    stopped["newest" if verdict.passed else verdict.stage] += 1
            found.listed, found.selected, found.stopped = len(tags), [*selected], stopped
            if len(selected) < selection.least:
                found.stages = (self._too_few(len(selected), selection),)
                return found
        found.waiting = Counter(self._waiting(rule))
        return found

    def _options(self, rule: Rule) -> ImageOptions:
        return self._job.options.under(rule.options)

    def _origin(self, rule: Rule) -> str:
        """The filter, and the flags that it comes from."""
        wanted = self._options(rule).platforms
        return f"{wanted}" + (" (--os, --arch)" if wanted.active and rule.options.platforms is None else "")

    def _select(self, rule: Rule) -> TagSelection:
        dated = rule.options.tags is not None and rule.options.tags.need_dates
        pushed = self._asking.pushed(rule.source) if dated else {}
        times = TagTimes(
            now=self._now,
            pushed=lambda tag: pushed.get(tag, 0.0),
            seen=partial(self._first_seen, rule.source),
        )
        return select(rule, times=times)

    def _first_seen(self, repository: Repository, tag: str, digest: str = "") -> float:
        """When a tag was first seen with a digest ("": with any); never: now."""
        when = self._facts.first_seen(repository, tag, digest) if self._facts is not None else None
        return self._now if when is None else when

    def _named(
        self, rule: Rule, selection: Named, tag: str
    ) -> tuple[str, int | None, tuple[StageVerdict, ...]]:
        """The name that a rule has for the tag, its position, and whether the source has it."""
        for position, name in enumerate(selection.names):
            if tag in (name, written_name(name), read_name(name)):
                stages: tuple[StageVerdict, ...] = (StageVerdict("named", True, "the source names it"),)
                try:
                    self._asking.digest(Reference(rule.source, read_name(name)))
                except RegistryError as error:
                    stages += (StageVerdict("source", False, str(error)),)
                return name, position, stages
        return tag, None, (StageVerdict("named", False, f"the source is {rule.text}"),)

    def _listed(self, rule: Rule, tag: str) -> tuple[StageVerdict, ...]:
        """The stages of a selection, and whether the whole rule fails."""
        tags = self._asking.tags(rule.source)
        stages, selection = self._select(rule).explain(tag, tags), self._select(rule)
        count = len([*selection.add(tags), *selection.end()])
        return stages if count >= selection.least else (*stages, self._too_few(count, selection))

    def _too_few(self, count: int, selection: TagSelection) -> StageVerdict:
        reason = f"the rule fails: it takes {format_count(count, 'tag')}, {selection.least} are required"
        return StageVerdict("at_least", False, reason)

    def _pruned(
        self, source: Reference, wanted: Pruning, origin: str
    ) -> tuple[list[EntryVerdict], tuple[StageVerdict, ...]]:
        """What happens to the entries of an image; why the whole image is skipped or fails, if it is."""
        failed: tuple[StageVerdict, ...] = ()
        read, root = self._asking.tree(source, wanted), self._asking.digest(source)
        kept: Collection[str] = read.keys()
        try:
            plan = prune(root, read, wanted)
            kept = () if isinstance(plan, Skip) else {manifest.digest for manifest in plan.manifests}
            if isinstance(plan, Skip):
                failed = (StageVerdict("platforms", False, plan.reason),)
        except ManifestError as error:
            failed = (StageVerdict("index", False, str(error)),)
        top = read[root]
        if top.kind != "index":
            platform = str(top.platform or "unknown")
            return [EntryVerdict(platform=platform, kept=root in kept, reason=origin)], failed
        return list(_entries(top, read, kept, wanted=wanted, origin=origin)), failed

    def _outcome(self, rule: Rule, source: Reference, destination: Reference) -> DestinationVerdict:
        """What happens to a selected tag at one destination, in the order of a run."""
        where, options = str(destination), self._options(rule)
        if reason := self._conflict(rule, source, destination):
            return DestinationVerdict(destination=where, result="conflict", reason=reason)
        try:
            if options.keeps(destination) and self._asking.there(destination):
                pattern = next(each for each in options.keep if tag_matcher(each)(destination.name))
                reason = f"it is there, and keep has {pattern}"
                return DestinationVerdict(destination=where, result="kept", reason=reason)
            if reason := self._why_held(options, source, destination):
                return DestinationVerdict(destination=where, result="held", reason=reason)
        except RegistryError as error:
            return DestinationVerdict(
                destination=where, result="copied", reason=f"if it is not there: {error}"
            )
        return DestinationVerdict(destination=where, result="copied")

    def _why_held(self, options: ImageOptions, source: Reference, destination: Reference) -> str:
        if not options.min_age or source.is_digest or self._facts is None:
            return ""
        digest = self._asking.digest(source)
        when = self._facts.first_seen(source.repository, source.name, digest)
        if when is None and self._job.settings.trust_existing and self._asking.there(destination) == digest:
            return ""
        known = self._now - self._first_seen(source.repository, source.name)
        return why_young(None if when is None else self._now - when, known, least=options.min_age)

    def _conflict(self, rule: Rule, source: Reference, destination: Reference) -> str:
        """Why an earlier rule or name has the destination; empty if none has."""
        first, first_name = self._writers(rule, destination.repository)[destination]
        origin = Reference(first.source, read_name(first_name))
        mine, theirs = self._options(rule).pruning, self._options(first).pruning
        if origin == source and mine == theirs:
            return ""
        with suppress(RegistryError, ManifestError):
            if theirs.index != "sparse" and self._written(origin, theirs) == self._written(source, mine):
                return ""
        return f"{first.place} writes other content there first, from {origin}"

    def _written(self, source: Reference, wanted: Pruning) -> str:
        """The digest that a destination gets; empty: none."""
        root = self._asking.digest(source)
        if not wanted.active:
            return root
        plan = prune(root, self._asking.tree(source, wanted), wanted)
        return "" if isinstance(plan, Skip) else plan.manifests[-1].digest

    def _writers(self, rule: Rule, repository: Repository) -> Mapping[Reference, _Writer]:
        """The first writer of each tag of a repository, among the rules up to this one."""
        found: dict[Reference, _Writer] = {}
        before = [each for each in self._job.rules.rules if each.number < rule.number]
        for each in (*before, rule):
            if any(to.repository == repository for to in each.targets):
                for name, position in self._names(each):
                    for destination in pairs(each, name, position):
                        found.setdefault(destination, (each, name))
        return found

    def _names(self, rule: Rule) -> Iterable[tuple[str, int | None]]:
        """The names that a rule selects; none if it fails."""
        if isinstance(rule.selection, Named):
            return [(name, position) for position, name in enumerate(rule.selection.names)]
        if rule.number not in self._chosen:
            selection, names = self._select(rule), list[str]()
            with suppress(RegistryError):
                names = [*selection.add(self._asking.tags(rule.source)), *selection.end()]
            taken = names if selection.selected >= selection.least else []
            self._chosen[rule.number] = [(name, None) for name in (*taken, *selection.missing)]
        return self._chosen[rule.number]

    def _waiting(self, rule: Rule) -> Iterator[str]:
        """Why selected tags are not written, in the same words for each; digests are not requested."""
        options = self._options(rule)
        writers = {to.repository: self._writers(rule, to.repository) for to in rule.targets}
        for name, position in self._names(rule):
            source = Reference(rule.source, read_name(name))
            may_wait = options.min_age and not source.is_digest
            is_young = may_wait and self._now - self._first_seen(rule.source, source.name) < options.min_age
            for destination in pairs(rule, name, position):
                first, first_name = writers[destination.repository][destination]
                origin = Reference(first.source, read_name(first_name))
                if origin != source or self._options(first).pruning != options.pruning:
                    yield f"written first by {first.place}, and a conflict unless the content is equal"
                elif options.keeps(destination) and self._is_there(destination):
                    yield "kept, because the destination has them"
                elif is_young:
                    yield "held back by min_age, unless the destination has them already"

    def _is_there(self, destination: Reference) -> bool:
        with suppress(RegistryError):
            return destination.name in self._asking.tags(destination.repository, "destination")
        return False


def _entries(
    index: Manifest, read: Mapping[str, Manifest], kept: Collection[str], *, wanted: Pruning, origin: str
) -> Iterator[EntryVerdict]:
    """The entries of an index, with those of nested indexes in their place."""
    for entry in index.children:
        below = read.get(entry.digest)
        if below is not None and below.kind == "index":
            yield from _entries(below, read, kept, wanted=wanted, origin=origin)
        elif entry.is_attestation:
            reason = f"attestations: {wanted.attestations}"
            yield EntryVerdict(platform="attestation", kept=entry.digest in kept, reason=reason)
        else:
            platform, reason = str(entry.platform or "unknown"), origin or "all platforms"
            yield EntryVerdict(platform=platform, kept=entry.digest in kept, reason=reason)
