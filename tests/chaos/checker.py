"""The checker: compares what a run left and reported with the promise, without knowing how the run works."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from tests.chaos.attached import all_attached, attached, whole
from tests.chaos.choosing import LISTS, matches
from tests.chaos.expect import WHOLE, Form, Held, Place, Tree, blobs_of, entries_of, left_of, outcome
from tests.chaos.rules import expand, names_of, read_source
from tests.registry.content import manifest_digest
from tests.registry.store import referred

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from tests.chaos.expect import Pair, World
    from tests.chaos.rules import Rule

NOTHING = Held()


Fate = Literal["copied", "kept", "held", "either"]
"""What happens to an image if nothing goes wrong: kept and held images are not moved; `either` is held, or
copied if it was first seen long enough ago.
"""
LONG = 86_400
"""Seconds; a quarantine this long outlasts every round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The output of a finished run."""

    code: int
    done: Mapping[str, Any]
    """The content of the file of successes."""
    failed: Mapping[str, Any]
    """The content of the file of failures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The input of all runs of a round."""

    rules: Sequence[Rule]
    sources: World
    """The content of the sources before any run."""
    base: Form = WHOLE
    """The form that the flags set."""
    late: Collection[Place] = ()
    """Tags that were added after others had been seen."""
    force: bool = False
    trust: bool = False
    """Whether existing destination tags count as seen (--trust-existing)."""
    ripe: bool = False
    """Whether short quarantines are over, except for the sources in `fresh`."""
    always: bool = False
    """Whether a success includes the image's artifacts."""
    apis: Collection[str] = ()
    """Registries with a referrers API."""
    fresh: Collection[Place] = ()
    """Sources that moved after the quarantine had passed."""
    unseen: Collection[Pair] = ()
    """What no run looked at before the last one, whose --force overrules `keep`."""

    def pairs(self, rules: Sequence[Rule] | None = None) -> dict[Pair, Rule]:
        """The images that the rules (or those of another file) name, without duplicates, in order."""
        found: dict[Pair, Rule] = {}
        for pair, rule in expand(self.rules if rules is None else rules, self._tags, self._is_late):
            found.setdefault(pair, rule)
        return found

    def failing(self) -> list[Rule]:
        """The rules that fail as a whole: unreadable, without a repository, or with too few tags."""
        return [rule for rule in self.rules if names_of(rule, self._tags, self._is_late) is None
                or read_source(rule.source)[:2] not in self.sources]  # fmt: skip

    def _tags(self, registry: str, repository: str) -> Collection[str]:
        return self.sources.get((registry, repository), NOTHING).tags

    def _is_late(self, registry: str, repository: str, tag: str) -> bool:
        return Place(registry, repository, tag) in self.late

    def fate(self, pair: Pair, rule: Rule, before: World) -> Fate:
        """What the rule does with an image, given the content of the destination before the run."""
        there = held_at(before, pair.destination).tags.get(pair.destination.name)
        force = self.force or rule.force
        if there and not force and any(matches(pair.destination.name, each) for each in rule.keep):
            return "kept"
        digest = self.digest(pair)
        if not rule.min_age or ":" in pair.source.name or digest is None:
            return "copied"
        if rule.min_age < LONG:
            if pair.source in self.fresh:
                return "held"
            return "copied" if self.ripe and pair not in self.unseen else "either"
        return "either" if self.trust and there == digest else "held"

    def tree(self, pair: Pair) -> Tree | None:
        """The tree to be copied; None if the filter leaves nothing.

        Raises:
            LookupError: the source lacks part of it, or it cannot have the form.
        """
        held = held_at(self.sources, pair.source)
        form = replace(pair.form, index="trim") if LISTS.fullmatch(pair.destination.name) else pair.form
        return left_of(held, held.digest(pair.source.name) or "", form)

    def digest(self, pair: Pair) -> str | None:
        """The digest of the image at its source, before filtering."""
        return held_at(self.sources, pair.source).digest(pair.source.name)

    def changed(self, pair: Pair) -> bool:
        """Whether the filter changes the digest of the image."""
        try:
            tree = self.tree(pair)
        except LookupError:
            return False
        return tree is not None and (tree.changed or tree.digest != self.digest(pair))

    def outcome(self, pair: Pair) -> Any:
        """A value for the expected content; an image that cannot be copied equals no other."""
        try:
            tree = self.tree(pair)
        except LookupError:
            return pair
        return tree and outcome(held_at(self.sources, pair.source), tree)

    def is_skipped(self, pair: Pair) -> bool:
        """Whether the filter leaves nothing of the image."""
        try:
            return self.tree(pair) is None
        except LookupError:
            return False


def held_at(world: World, place: Place) -> Held:
    """The repository of a place."""
    return world.get((place.registry, place.repository), NOTHING)


def flaw(task: Task, pair: Pair, world: World) -> str:
    """The error at the destination of an image; empty if it is complete, or correctly filtered."""
    try:
        tree = task.tree(pair)
    except LookupError as missing:
        return f"the source lacks {missing}"
    if tree is None:
        return ""
    source, there = held_at(task.sources, pair.source), held_at(world, pair.destination)
    name = pair.destination.name
    digest = name if ":" in name else there.tags.get(name, "")
    if not digest and LISTS.fullmatch(name) and pair.destination.registry in task.apis:
        return next(_flaws_of_listed(source, tree, there, name), "")
    if not digest:
        return "no such tag"
    if LISTS.fullmatch(name):
        before = held_at(task.sources, pair.destination)
        mine = before.digest(name)
        own = entries_of(before.manifests[mine][0]) if mine else []
        return next(_flaws_of_list(source, tree, there, digest, own), "")
    found = chain(_flaws(source, tree, there, digest), _flaws_of_attached(task, pair, tree, there))
    return next(found, "")


def _flaws_of_attached(task: Task, pair: Pair, tree: Tree, there: Held) -> Iterator[str]:
    """With `always`, all artifacts are copied and listed.

    If a rule selects every tag, the list of a subject is an image of its own with a result of its own.
    """
    if not task.always or pair.source[:2] == pair.destination[:2]:
        return
    source = held_at(task.sources, pair.source)
    known = all_attached(source, set(whole(tree)), api=pair.source.registry in task.apis)
    lists = {
        each.source.name
        for each in task.pairs()
        if (each.source[:2], each.destination[:2]) == (pair.source[:2], pair.destination[:2])
    }
    for subject, artifacts in known.items():
        if subject.replace(":", "-") in lists:
            continue
        listed = attached(there, subject, api=pair.destination.registry in task.apis)
        for each in artifacts:
            yield from _flaws(source, Tree(each, None, changed=False), there, each)
            if each not in listed:
                yield f"{each} is not listed among the artifacts of {subject}"


def _flaws_of_listed(source: Held, tree: Tree, there: Held, name: str) -> Iterator[str]:
    """A fallback tag that does not exist, since the registry lists artifacts itself."""
    listed = attached(there, name.replace("-", ":"), api=True)
    yield from (
        f"{child.digest} is not listed" for _, child in tree.entries or () if child.digest not in listed
    )
    for _, child in tree.entries or ():
        yield from _flaws(source, child, there, child.digest)


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
    """A list of companions keeps all entries of the source and all earlier entries of the destination."""
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
    """A filtered index equals the original except for dropped entries and for digests of changed ones."""
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
    """Whether the content has this digest."""
    algorithm, _, wanted = digest.partition(":")
    return content is not None and hashlib.new(algorithm, content).hexdigest() == wanted


def dangling(held: Held, digest: str, *, sparse: bool = False) -> str:
    """The content that a manifest lacks in its repository; empty if it is complete.

    Args:
        held: the repository.
        digest: the manifest.
        sparse: whether children may be missing.
    """
    if digest not in held.manifests:
        return f"no manifest {digest}"
    content, _ = held.manifests[digest]
    if manifest_digest(content) != digest:
        return f"{digest} has other bytes"
    for blob, elsewhere in blobs_of(content).items():
        if not elsewhere and not is_right(blob, held.blobs.get(blob)):
            return f"blob {blob} is missing or wrong"
    _, children = referred(content)
    below = (dangling(held, each) for each in children if each in held.manifests or not sparse)
    return next(filter(None, below), "")
