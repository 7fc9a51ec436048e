"""The judge: compares the exit code, the lists and the registries after a run with the promise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.chaos.attached import all_attached, whole
from tests.chaos.checker import flaw, held_at
from tests.chaos.choosing import LISTS
from tests.chaos.expect import blobs_of
from tests.chaos.rules import read_rules

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tests.chaos.checker import Fate, Said, Task
    from tests.chaos.expect import Held, Pair, Place, Tree, World
    from tests.chaos.rules import Rule


@dataclass(frozen=True, slots=True)
class Findings:
    """The facts about a run that the judge uses."""

    pairs: dict[Pair, Rule]
    fates: dict[Pair, Fate]
    flaws: dict[Pair, str]
    """By image; empty if it is complete."""
    missing: set[Pair]
    """Images with an error that should have been copied."""
    lost: set[Pair]
    """See `conflict_losers`."""
    done: set[Pair]
    """If an image has two forms, the list does not say which."""
    failed: set[Pair]
    whole: set[Pair]
    """Images of rules that are listed as written."""
    at_fault: list[str]
    """Images and rules that failed or lost to an earlier rule, except optional ones."""


def judge(
    task: Task,
    said: Said,
    world: World,
    *,
    before: World,
    unsure: Collection[Pair] = (),
    lapsed: Collection[Pair] = (),
) -> list[str]:
    """The broken promises of a run.

    Args:
        task: the input of the run.
        said: the output of the run.
        world: the content of all repositories after the run.
        before: their content before the run.
        unsure: images that may be complete although they failed: a fault hid the success, or another
            rule's claim conflicts with earlier content.
        lapsed: images that may be missing although they succeeded, since the registry lost content later.
    """
    found = _find(task, said, world, before, lapsed)
    flaws, done, failed = found.flaws, found.done, found.failed
    wrong = [f"no rule names it, but it is listed: {each}" for each in _unnamed(task, said, found.pairs)]
    wrong += moved(found, world, before)
    right = {pair[:2] for pair in done if not flaws[pair] or pair in lapsed}
    wrong += [
        f"listed as success, but {flaws[pair]}: {pair}" for pair in _ordered(done) if pair[:2] not in right
    ]
    obliged = _ordered(pair for pair in found.missing if not found.pairs[pair].optional)
    if said.code == 0:
        wrong += [f"exit 0, but {flaws[pair]}: {pair}" for pair in obliged]
        wrong += [f"exit 0, but failed: {each}" for each in found.at_fault]
    if said.code == 1:
        surplus = (failed & set(flaws)) - found.missing - found.whole - set(unsure) - set(lapsed)
        # An image that was perhaps old enough may have been tried.
        surplus -= {pair for pair, fate in found.fates.items() if fate == "either" and flaws[pair]}
        wrong += [f"listed as failed, but it is there: {pair}" for pair in _ordered(surplus)]
        wrong += ["exit 1, and nothing failed that is not optional"] * (not found.at_fault)
    if said.code:
        wrong += [
            f"neither there nor listed: {pair}" for pair in _ordered(found.missing - failed - found.lost)
        ]
    resting = {pair for pair, fate in found.fates.items() if fate in ("held", "either")}
    skipped = {pair for pair in flaws if task.is_skipped(pair)}
    silent = set(flaws) - done - failed - skipped - found.lost - resting
    return wrong + [f"in no list: {pair}" for pair in _ordered(silent)]


def _find(task: Task, said: Said, world: World, before: World, lapsed: Collection[Pair]) -> Findings:
    pairs = task.pairs()
    fates = {pair: task.fate(pair, rule, before) for pair, rule in pairs.items()}
    flaws = {pair: "" if fates[pair] == "kept" else flaw(task, pair, world) for pair in pairs}
    missing = {
        pair for pair, what in flaws.items() if what and fates[pair] == "copied" and pair not in lapsed
    }
    named = {pair[:2] for pair in task.pairs(read_rules(said.done, task.base))}
    listed = [rule for rule in read_rules(said.failed, task.base) if not rule.owes]
    written = {rule.source for rule in task.rules}
    failed = set(task.pairs(listed))
    lost = conflict_losers(task, missing | failed)
    at_fault = [rule.source for rule in listed if not rule.optional]
    at_fault += [str(pair) for pair in _ordered(lost - failed) if not pairs[pair].optional]
    return Findings(
        pairs,
        fates,
        flaws,
        missing,
        lost,
        done={pair for pair in pairs if pair[:2] in named},
        failed=failed,
        whole=set(task.pairs([rule for rule in listed if rule.source in written])),
        at_fault=at_fault,
    )


def _unnamed(task: Task, said: Said, pairs: dict[Pair, Rule]) -> list[str]:
    """Listed images that no rule names."""
    done = task.pairs(read_rules(said.done, task.base)).keys()
    failed = task.pairs(read_rules(said.failed, task.base)).keys()
    known = {pair[:2] for pair in pairs}
    return [str(pair) for pair in _ordered(done) if pair[:2] not in known] + [
        str(pair) for pair in _ordered(failed - pairs.keys())
    ]


def moved(found: Findings, world: World, before: World) -> list[str]:
    """The tags that were moved although their rule keeps or holds them."""
    wrong = []
    for pair, fate in found.fates.items():
        old, new = (
            held_at(each, pair.destination).tags.get(pair.destination.name) for each in (before, world)
        )
        if fate in ("kept", "held") and old != new:
            wrong.append(f"it is {fate}, but its tag was moved from {old} to {new}: {pair}")
    return wrong


def _ordered(pairs: Iterable[Pair]) -> list[Pair]:
    return sorted(pairs, key=str)


def conflict_losers(task: Task, missing: Collection[Pair] = ()) -> set[Pair]:
    """The images that lose their destination's tag to an earlier rule.

    They need not be listed: in a rules file of failures, without the earlier rule, they would win.

    Args:
        task: the input of the run.
        missing: images that failed or are missing; images that wait for them are missing too.
    """
    first: dict[Place, Pair] = {}
    found = set()
    for pair in task.pairs():
        winner = first.setdefault(pair.destination, pair)
        if winner == pair or LISTS.fullmatch(pair.destination.name):
            continue
        differs = not task.is_skipped(pair) and task.outcome(winner) != task.outcome(pair)
        if winner in missing or task.is_skipped(winner) or differs:
            found.add(pair)
    return found


def certain_failures(
    task: Task, world: World, *, immutable: Collection[str], refused: Collection[Pair], lost: Collection[str]
) -> set[Pair]:
    """The images that no run can copy: missing at the source, refused, or lost to an earlier rule.

    Args:
        task: the input of the runs.
        world: the content of all repositories before any run.
        immutable: registries that refuse to move a tag.
        refused: images whose type the destination refuses.
        lost: blobs that no registry has any more.
    """
    found: set[Pair] = set()
    claims: dict[Place, Pair] = {}
    for pair, rule in task.pairs().items():
        first = claims.setdefault(pair.destination, pair)
        same = LISTS.fullmatch(pair.destination.name) or task.outcome(first) == task.outcome(pair)
        if task.is_skipped(pair) or task.fate(pair, rule, world) in ("kept", "held"):
            continue
        if first != pair and (first in found or not same):
            found.add(pair)
        elif flaw(task, pair, world):
            taken = pair.destination.registry in immutable and _is_taken(task, pair, world)
            if taken or pair in refused or _cannot_come(task, pair, lost):
                found.add(pair)
    return found


def _cannot_come(task: Task, pair: Pair, lost: Collection[str]) -> bool:
    """Whether the source lacks content, or a filter changes an image that has to keep its digest."""
    try:
        tree = task.tree(pair)
    except LookupError:
        return True
    if tree is None:
        return False
    source = held_at(task.sources, pair.source)
    below = _blobs_below(source, tree)
    if task.always:
        artifacts = all_attached(source, set(whole(tree)), api=pair.source.registry in task.apis).values()
        below |= {blob for each in set().union(*artifacts) for blob in blobs_of(source.manifests[each][0])}
    return (task.changed(pair) and ":" in pair.destination.name) or not below.isdisjoint(lost)


def _blobs_below(held: Held, tree: Tree) -> set[str]:
    below = [_blobs_below(held, child) for _, child in tree.entries or () if not child.is_blob]
    return set(blobs_of(held.manifests[tree.digest][0])).union(*below)


def _is_taken(task: Task, pair: Pair, world: World) -> bool:
    """Whether the destination's tag points at another image."""
    there = held_at(world, pair.destination).tags.get(pair.destination.name)
    return there is not None and (there != task.digest(pair) or task.changed(pair))


def manifests_of(tree: Tree) -> set[str]:
    """The source digests of all manifests of a tree."""
    below = (manifests_of(child) for _, child in tree.entries or () if not child.is_blob)
    return {tree.digest}.union(*below)


def unwanted(task: Task, world: World, *, first: World, known: dict[tuple[str, str], set[str]]) -> list[str]:
    """The tags and manifests at destinations that no rule asked for.

    Args:
        task: the input of the run.
        world: the content of all repositories.
        first: their content at the beginning.
        known: the wanted digests of each repository so far; those of this task are added.
    """
    for pair in task.pairs():
        try:
            tree = task.tree(pair)
        except LookupError:
            continue
        wanted = known.setdefault(pair.destination[:2], set())
        below = manifests_of(tree) if tree else set()
        source, api = held_at(task.sources, pair.source), pair.source.registry in task.apis
        artifacts = all_attached(source, below, api=api)
        wanted |= {pair.destination.name, *below} | below.union(*artifacts.values())
        wanted |= {subject.replace(":", "-") for subject in artifacts}
    originals = {digest for held in task.sources.values() for digest in held.manifests}
    wrong = []
    for place, held in world.items():
        if place not in known:
            continue
        before = first.get(place)
        there = held.tags.keys() | (held.manifests.keys() & originals)
        old = before.tags.keys() | before.manifests.keys() if before else set()
        wrong += [f"nobody wants {each} in {'/'.join(place)}" for each in sorted(there - old - known[place])]
    return wrong
