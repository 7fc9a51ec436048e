"""The checker: holds what a run left and said against the promise, knowing nothing of how it works."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.chaos.expect import LISTS, Held, Pair, Tree, Wanted, blobs_of, entries_of, expand, left_of
from tests.registry.content import manifest_digest
from tests.registry.store import referred

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from tests.chaos.expect import Place, Rules, World

NOTHING = Held()


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The output of a finished run."""

    code: int
    done: Rules
    """The file of successes."""
    failed: Rules
    """The file of failures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The input of all runs of a round."""

    rules: Rules
    sources: World
    """What the sources held before any run."""
    wanted: Wanted

    def pairs(self, rules: Rules | None = None) -> list[Pair]:
        """The images that the rules (or those of another file) name, each once, in order."""

        def tags(registry: str, repository: str) -> Sequence[str]:
            return list(self.sources.get((registry, repository), NOTHING).tags)

        return list(dict.fromkeys(expand(self.rules if rules is None else rules, tags)))

    def tree(self, source: Place) -> Tree | None:
        """What is to come of a source; None: the filter leaves nothing.

        Raises:
            KeyError: the source lacks it, or something below.
        """
        held = self.sources[source.registry, source.repository]
        return left_of(held, held.digest(source.name) or "", self.wanted)

    def digest(self, pair: Pair) -> str | None:
        """The digest of the image at its source, before any filter."""
        return self.sources.get((pair.source.registry, pair.source.repository), NOTHING).digest(
            pair.source.name
        )

    def changed(self, pair: Pair) -> bool:
        """Whether the filter gives the image another digest."""
        try:
            tree = self.tree(pair.source)
        except KeyError:
            return False
        return tree is not None and tree.changed

    def is_skipped(self, pair: Pair) -> bool:
        """Whether the filter leaves nothing of it."""
        try:
            return self.tree(pair.source) is None
        except KeyError:
            return False


def flaw(task: Task, pair: Pair, world: World) -> str:
    """The error at the destination of one image; empty: it is complete, or correctly filtered."""
    try:
        tree = task.tree(pair.source)
    except KeyError as missing:
        return f"the source lacks {missing}"
    if tree is None:
        return ""
    source = task.sources[pair.source.registry, pair.source.repository]
    there = world.get((pair.destination.registry, pair.destination.repository), NOTHING)
    name = pair.destination.name
    digest = name if ":" in name else there.tags.get(name, "")
    if not digest:
        return "no such tag"
    if LISTS.fullmatch(name):
        before = task.sources.get((pair.destination.registry, pair.destination.repository), NOTHING)
        mine = before.digest(name)
        own = entries_of(before.manifests[mine][0]) if mine else []
        return next(_flaws_of_list(source, tree, there, digest, own), "")
    return next(_flaws(source, tree, there, digest), "")


def _flaws(source: Held, tree: Tree, there: Held, digest: str) -> Iterator[str]:
    if digest not in there.manifests:
        yield f"no manifest {digest}"
        return
    content, media_type = there.manifests[digest]
    wanted, wanted_type = source.manifests[tree.digest]
    if media_type != wanted_type:
        yield f"{digest} is {media_type}, not {wanted_type}"
    if tree.changed:
        yield from _flaws_of_cut(source, tree, there, digest)
        return
    if content != wanted or digest != tree.digest:
        yield f"{digest} is not {tree.digest} byte for byte"
    for blob, elsewhere in blobs_of(wanted).items():
        if elsewhere and blob not in source.blobs:
            continue
        if there.blobs.get(blob) != source.blobs.get(blob) or not is_right(blob, there.blobs.get(blob)):
            yield f"blob {blob} is missing or wrong"
    for _, child in tree.entries or ():
        if not child.is_blob:
            yield from _flaws(source, child, there, child.digest)


def _flaws_of_list(source: Held, tree: Tree, there: Held, digest: str, own: list[Any]) -> Iterator[str]:
    """A list of what belongs to an image has all entries of the source's, and all that were there before."""
    if digest not in there.manifests:
        yield f"no manifest {digest}"
        return
    found = entries_of(there.manifests[digest][0])
    wanted = entries_of(source.manifests[tree.digest][0])
    yield from (f"{digest} lacks the entry {entry}" for entry in (*wanted, *own) if entry not in found)
    for blob in blobs_of(source.manifests[tree.digest][0]):
        if there.blobs.get(blob) != source.blobs.get(blob) or not is_right(blob, there.blobs.get(blob)):
            yield f"blob {blob} is missing or wrong"
    for _, child in tree.entries or ():
        yield from _flaws(source, child, there, child.digest)


def _flaws_of_cut(source: Held, tree: Tree, there: Held, digest: str) -> Iterator[str]:
    """An index that a filter cut: the same but for its entries, and those that stay but for their digests."""
    content = there.manifests[digest][0]
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
        yield f"{digest} has another digest"
    body, old = json.loads(content), json.loads(source.manifests[tree.digest][0])
    entries, kept = body.pop("manifests"), tree.entries or ()
    del old["manifests"]
    if body != old or len(entries) != len(kept):
        yield f"{digest} is not what the filter leaves of {tree.digest}: {len(entries)} entries"
        return
    for entry, (before, child) in zip(entries, kept, strict=True):
        expected = dict(before)
        if child.changed:
            size = len(there.manifests.get(entry["digest"], (b"", ""))[0])
            expected |= {"digest": entry["digest"], "size": size}
        if entry != expected:
            yield f"{digest} has the entry {entry}, not {expected}"
        yield from _flaws(source, child, there, entry["digest"])


def is_right(digest: str, content: bytes | None) -> bool:
    """Whether bytes are those of a digest."""
    algorithm, _, wanted = digest.partition(":")
    return content is not None and hashlib.new(algorithm, content).hexdigest() == wanted


def dangling(held: Held, digest: str) -> str:
    """The content that a manifest lacks in its repository; empty: it is complete."""
    if digest not in held.manifests:
        return f"no manifest {digest}"
    content, _ = held.manifests[digest]
    if manifest_digest(content) != digest:
        return f"{digest} has other bytes"
    for blob, elsewhere in blobs_of(content).items():
        if not elsewhere and not is_right(blob, held.blobs.get(blob)):
            return f"blob {blob} is missing or wrong"
    _, children = referred(content)
    below = (dangling(held, digest) for digest in children)
    return next(filter(None, below), "")


def judge(
    task: Task, said: Said, world: World, *, unsure: set[Pair], lapsed: Collection[Pair] = ()
) -> list[str]:
    """What of the promise a run broke.

    Args:
        task: what the run was about.
        said: what it said.
        world: what all repositories hold after it.
        unsure: what may be there although it failed: a fault hid that it arrived, or another rule's claim
            stands against what was there before.
        lapsed: what may be lacking although it is a success: its registry lost it after it had confirmed it.
    """
    wrong: list[str] = []
    flaws = {pair: flaw(task, pair, world) for pair in task.pairs()}
    missing = {pair for pair, what in flaws.items() if what and pair not in lapsed}
    skipped = {pair for pair in flaws if task.is_skipped(pair)}
    lost = beaten(task)
    done, failed = set(task.pairs(said.done)), set(task.pairs(said.failed))
    wrong += [f"listed as success, but {flaws.get(pair, 'no rule names it')}: {pair}"
              for pair in sorted(done) if pair in missing or pair not in flaws]  # fmt: skip
    if said.code == 0:
        wrong += [f"exit 0, but {flaws[pair]}: {pair}" for pair in sorted(missing)]
        wrong += [f"exit 0, but listed as failed: {pair}" for pair in sorted(failed)]
    else:
        wrong += [f"listed as failed, but no rule names it: {pair}" for pair in sorted(failed - set(flaws))]
    if said.code == 1:
        whole = set(task.pairs({text: to for text, to in said.failed.items() if task.rules.get(text)}))
        surplus = (failed & set(flaws)) - missing - whole - unsure - set(lapsed)
        wrong += [f"listed as failed, but it is there: {pair}" for pair in sorted(surplus)]
    if said.code == 1 and not said.failed and not lost:
        wrong.append("exit 1, and nothing is listed as failed")
    if said.code:
        wrong += [f"neither there nor listed: {pair}" for pair in sorted(missing - failed - lost)]
    listed = done | failed | skipped | lost
    return wrong + [f"in no list: {pair}" for pair in sorted(set(flaws) - listed)]


def beaten(task: Task) -> set[Pair]:
    """The images that lose their destination's tag to a rule that stands first.

    They need stand in no list: in a rules file of what failed, without the rule that stands first, they would
    win.
    """
    first: dict[Place, Pair] = {}
    found = set()
    for pair in task.pairs():
        winner = first.setdefault(pair.destination, pair)
        if LISTS.fullmatch(pair.destination.name):
            continue
        if winner != pair and (task.is_skipped(winner) or task.digest(winner) != task.digest(pair)):
            found.add(pair)
    return found


def hopeless(
    task: Task, world: World, *, immutable: set[str], refused: set[Pair], lost: set[str]
) -> set[Pair]:
    """The images that no run can bring: not at the source, refused, or beaten by a rule that stands first.

    Args:
        task: what the runs are about.
        world: what all repositories held before any run.
        immutable: registries that refuse to move a tag.
        refused: what the destinations do not take for what it is.
        lost: blobs that are nowhere any more.
    """
    found: set[Pair] = set()
    claims: dict[Place, Pair] = {}
    for pair in task.pairs():
        first = claims.setdefault(pair.destination, pair)
        same = LISTS.fullmatch(pair.destination.name) or task.digest(first) == task.digest(pair)
        if first != pair and (first in found or task.is_skipped(first) or not same):
            found.add(pair)
        elif not task.is_skipped(pair) and flaw(task, pair, world):
            taken = pair.destination.registry in immutable and _is_taken(task, pair, world)
            if taken or pair in refused or _cannot_come(task, pair, lost):
                found.add(pair)
    return found


def _cannot_come(task: Task, pair: Pair, lost: set[str]) -> bool:
    """Whether the source lacks some of it, or a filter gives it another digest than it is to have."""
    held = task.sources.get((pair.source.registry, pair.source.repository), NOTHING)
    try:
        tree = task.tree(pair.source)
    except KeyError:
        return True
    if tree is None:
        return False
    return (tree.changed and ":" in pair.destination.name) or bool(lost & _blobs_below(held, tree))


def _blobs_below(held: Held, tree: Tree) -> set[str]:
    below = [_blobs_below(held, child) for _, child in tree.entries or () if not child.is_blob]
    return set(blobs_of(held.manifests[tree.digest][0])).union(*below)


def _is_taken(task: Task, pair: Pair, world: World) -> bool:
    """Whether the tag points at something else."""
    held = world.get((pair.destination.registry, pair.destination.repository), NOTHING)
    there = held.tags.get(pair.destination.name)
    return there is not None and (there != task.digest(pair) or bool(task.changed(pair)))
