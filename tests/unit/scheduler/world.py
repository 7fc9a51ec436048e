"""A world of registries in memory that answers the tasks of the scheduler, as workers would.

At every push the world checks what a real registry may not check: that all blobs and children exist.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipeline.errors import Fault
from pipeline.log import sentence
from pipeline.model.catalogue import CatalogueKind, CatalogueSetting
from pipeline.model.listing_tasks import ListDigests, ListRepositories, ListTags
from pipeline.model.manifest import Manifest, parse
from pipeline.model.messages import (
    STAGES,
    BlobCopied,
    CopyBlob,
    FetchManifest,
    HeadManifests,
    ManifestFetched,
    ManifestHead,
    ManifestPushed,
    ManifestsHeaded,
    PushManifest,
    ReferencesMissing,
    TagsListed,
    TaskFailed,
    TaskLost,
    Throttled,
)
from pipeline.model.options import ImageOptions
from pipeline.model.platform import Filter
from pipeline.model.reference import Reference, parse_repository
from pipeline.model.referrers import ListReferrers
from pipeline.model.registry_settings import RegistrySettings
from pipeline.model.rule_options import NO_OPTIONS, RuleOptions
from pipeline.model.selection import AllTags, Named, Rule, Target
from pipeline.scheduler.scheduler import Scheduler
from pipeline.settings import Limits, Settings
from tests.unit.scheduler.memory import MemoryFacts
from tests.unit.scheduler.referring import cost_of, list_digests, list_referrers, list_repositories, merge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.model.messages import Outcome, Task

OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OF_IMAGES = {"force", "retries", "referrers"}
SOURCE = "src.example.com"
MIRROR = "dst.example.org"


def digest(content: bytes) -> str:
    """The sha256 digest of some bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def blob(name: str) -> dict[str, Any]:
    """A descriptor of a made-up layer."""
    return {
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": digest(name.encode()),
        "size": len(name),
    }


def image(*layers: str, salt: str = "") -> bytes:
    """An image manifest with a config of its own and these layers."""
    config = blob(f"config {salt} {layers}") | {"mediaType": "application/vnd.oci.image.config.v1+json"}
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "config": config,
        "layers": [blob(layer) for layer in layers],
    }
    return json.dumps(document).encode()


def index(*entries: tuple[bytes, str] | bytes) -> bytes:
    """An index of images or indexes, each with its architecture (empty: no platform)."""
    manifests = []
    for entry in entries:
        content, architecture = entry if isinstance(entry, tuple) else (entry, "")
        item: dict[str, Any] = {
            "mediaType": json.loads(content)["mediaType"],
            "digest": digest(content),
            "size": len(content),
        }
        if architecture:
            item["platform"] = {"os": "linux", "architecture": architecture}
        manifests.append(item)
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()


def cache(*layers: str) -> bytes:
    """An index of blobs, as BuildKit exports a cache."""
    entries = [blob(layer) for layer in layers]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()


def manifest(content: bytes) -> Manifest:
    """The parsed manifest of the bytes."""
    return parse(content, "", digest(content))


@dataclass
class Store:
    """One repository."""

    tags: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    blobs: set[str] = field(default_factory=set)


class World:
    """Registries by (registry, path), and how they behave."""

    def __init__(self, *, mounts: bool = True, limits: Limits | None = None, **settings: Any) -> None:
        self.stores: dict[str, Store] = {}
        self.mounts = mounts
        self.with_api: set[str] = set()
        """Registries with a referrers API."""
        self.catalogues: dict[str, CatalogueKind] = {}
        """By registry whose catalogue is known: v2 tells no digests, the others do."""
        self.takes_sparse = False
        """Whether an index with missing children is accepted."""
        self.facts = MemoryFacts()
        of_images = {name: settings.pop(name) for name in settings.keys() & OF_IMAGES}
        self.options = ImageOptions(**of_images)
        """Of rules without their own options; their platforms are `filter`."""
        self.settings = Settings(limits=limits or Limits(), **settings)
        self.filter = Filter()
        self.page_size = 1_000
        self.script: dict[str, list[Callable[[Task], Outcome | None]]] = defaultdict(list)
        """By part of a task's key: answers to give in order; None: the correct one."""
        self.done: list[Task] = []
        self.uploads: Counter[tuple[str, str]] = Counter()
        """(destination registry, digest) -> uploads."""
        self.requests: Counter[str] = Counter()
        """By kind, as the protocol counts: HEAD, GET, POST, PUT."""
        self.now = 0.0
        self.early_puts: list[str] = []
        """Manifests that were pushed before their content."""

    def store(self, text: str) -> Store:
        """A repository, created at its first use."""
        return self.stores.setdefault(str(parse_repository(text)), Store())

    def push(self, text: str, content: bytes, *tags: str, children: Sequence[bytes] = ()) -> str:
        """Store a manifest and everything that it names in a repository; returns its digest."""
        store = self.store(text)
        for each in (*children, content):
            parsed = manifest(each)
            store.manifests[parsed.digest] = each
            store.blobs.update(b.digest for b in parsed.blobs)
        for tag in tags:
            store.tags[tag] = digest(content)
        return digest(content)

    def scheduler(self, rules: Sequence[Rule], run: str = "run") -> Scheduler:
        """A scheduler over this world's records."""
        self.facts.run = run
        options = replace(self.options, platforms=self.filter)
        return Scheduler(
            rules,
            run=run,
            facts=self.facts,
            settings=self.settings,
            options=options,
            now=self.now,
            settings_of=self._settings_of,
        )

    def _settings_of(self, registry: str) -> RegistrySettings:
        known = registry in self.catalogues
        return RegistrySettings(catalog=CatalogueSetting(kind=self.catalogues[registry]) if known else None)

    def run(
        self, rules: Sequence[Rule], run: str = "run", *, pick: Callable[[int], int] = lambda _: 0
    ) -> Scheduler:
        """Run a scheduler to its end; `pick` chooses which of n running tasks answers next."""
        scheduler = self.scheduler(rules, run)
        self.go(scheduler, pick=pick)
        return scheduler

    def go(
        self,
        scheduler: Scheduler,
        *,
        pick: Callable[[int], int] = lambda _: 0,
        answer: Callable[[Task], Outcome] | None = None,
        steps: int = 100_000,
    ) -> None:
        """Let tasks run and answer, one at a time in the order of `pick`, until the run ends."""
        answer = answer or self.answer
        running: list[Task] = []
        for _ in range(steps):
            running += self.take_all(scheduler)
            if scheduler.done:
                assert all(map(sentence, scheduler._state.events)), "an event has no words"
                return
            if not running:
                wake = scheduler.wake(self.now)
                assert wake is not None, "nothing runs, nothing wakes, and it is not over"
                self.now += wake
                scheduler.tick(self.now)
                continue
            task = running.pop(pick(len(running)))
            scheduler.settle(answer(task), self.now)
            scheduler.validate()
        raise AssertionError("it does not end")

    def take_all(self, scheduler: Scheduler) -> list[Task]:
        """All tasks that may start now."""
        found = []
        for stage in STAGES:
            for alone in (False, True):
                while task := scheduler.take(stage, self.now, alone=alone):
                    found.append(task)
        return found

    def fail(self, part: str, *, times: int = 1, **fault: Any) -> None:
        """Make tasks fail whose key contains `part`."""
        made = Fault(**({"operation": "work", "words": "it is broken"} | fault))
        self.script[part] += [lambda task: TaskFailed(key=task.key, fault=made)] * times

    def lose(self, part: str, *, times: int = 1, alone: bool = False) -> None:
        """Make the worker of such a task die."""
        self.script[part] += [
            lambda task: TaskLost(key=task.key, reason="killed by SIGKILL", begun=True, alone=alone)
        ] * times

    def throttle(
        self, part: str, registry: str, *, delay: float = 5.0, asked: float = 0.0, times: int = 1
    ) -> None:
        """Let the registry answer such a task with a request for a pause of `asked` seconds."""
        fault = Fault(operation="work", words="slow down", registry=registry, status=429, retryable=True)
        self.script[part] += [
            lambda task: Throttled(key=task.key, fault=fault, delay=delay, asked=asked)
        ] * times

    def answer(self, task: Task) -> Outcome:
        """The worker's answer to the task, with one request at each registry that answered."""
        outcome = self._answer(task)
        fault = getattr(outcome, "fault", None)
        return replace(outcome, cost=cost_of(task, answered=fault is None or bool(fault.status)))

    def _answer(self, task: Task) -> Outcome:
        self.done.append(task)
        for part, answers in self.script.items():
            if part in task.key and answers:
                scripted = answers.pop(0)(task)
                if scripted is not None:
                    return scripted
        match task:
            case ListTags():
                return self._expand(task)
            case ListDigests(repository=where):
                tags, kind = self.store(str(where)).tags, self.catalogues.get(where.registry, "v2")
                return list_digests(task, tags, self.requests, kind=kind, count=self.page_size)
            case ListRepositories():
                return list_repositories(task, self.stores, self.requests)
            case HeadManifests():
                return self._look(task)
            case FetchManifest():
                store = self.stores[str(task.repository)]
                self.requests["GET"] += 1
                return ManifestFetched(key=task.key, manifest=manifest(store.manifests[task.digest]))
            case ListReferrers():
                self.requests["REFERRERS"] += 1
                store, api = self.store(str(task.repository)), task.repository.registry in self.with_api
                return list_referrers(task, store.tags, store.manifests, api=api)
            case CopyBlob():
                return self._move(task)
            case PushManifest():
                return self._put(task)

    def _expand(self, task: ListTags) -> Outcome:
        self.requests["LIST"] += 1
        store = self.stores.get(str(task.repository))
        if store is None:
            if task.side == "destination":
                return TagsListed(key=task.key, tags=(), missing=True)
            fault = Fault(operation="list", words="unknown", status=404, registry=task.repository.registry)
            return TaskFailed(key=task.key, fault=fault)
        tags = sorted(store.tags)
        begin = int(task.page or 0)
        end = begin + self.page_size
        return TagsListed(key=task.key, tags=tuple(tags[begin:end]), next=str(end) if end < len(tags) else "")

    def _find(self, reference: Reference) -> ManifestHead | None:
        self.requests["HEAD"] += 1
        store = self.stores.get(str(reference.repository), Store())
        name = reference.name if reference.is_digest else store.tags.get(reference.name, "")
        if name not in store.manifests:
            return None
        return ManifestHead(digest=name, media_type=manifest(store.manifests[name]).media_type)

    def _look(self, task: HeadManifests) -> Outcome:
        source: ManifestHead | Fault | None = ManifestHead(digest=task.listed) if task.listed else None
        if task.source is not None and source is None:
            source = self._find(task.source) or Fault(
                operation="read",
                words="no such tag",
                side="source",
                status=404,
                code="MANIFEST_UNKNOWN",
                registry=task.source.repository.registry,
            )
        there = tuple(self._find(destination) for destination in task.destinations)
        return ManifestsHeaded(key=task.key, source=source, destinations=there)

    def _move(self, task: CopyBlob) -> Outcome:
        here = self.stores.setdefault(str(task.destination), Store())
        wanted = task.blob.digest
        if task.ask:
            self.requests["HEAD"] += 1
            if wanted in here.blobs:
                return BlobCopied(key=task.key, how="present")
        self.requests["POST"] += 1
        if task.mount and self.mounts:
            other = self.stores.get(f"{task.destination.registry}/{task.mount}", Store())
            if wanted in other.blobs:
                here.blobs.add(wanted)
                return BlobCopied(key=task.key, how="mounted")
        self.requests["GET"] += 1
        if wanted not in self.stores[str(task.source)].blobs:
            fault = Fault(operation="read", words="gone", side="source", status=404, code="BLOB_UNKNOWN")
            return TaskFailed(key=task.key, fault=fault, refused=bool(task.mount))
        self.requests["PUT"] += 1
        self.uploads[task.destination.registry, wanted] += 1
        here.blobs.add(wanted)
        return BlobCopied(key=task.key, how="uploaded", refused=bool(task.mount))

    def _put(self, task: PushManifest) -> Outcome:
        self.requests["PUT"] += 1
        here = self.stores.setdefault(str(task.destination.repository), Store())
        parsed = parse(task.content, task.media_type, task.digest)
        missing = [b.digest for b in parsed.blobs if b.digest not in here.blobs]
        if not self.takes_sparse:
            missing += [c.digest for c in parsed.children if c.digest not in here.manifests]
        if missing:
            self.early_puts.append(task.key)
            code = "MANIFEST_BLOB_UNKNOWN"
            fault = Fault(operation="put", words="unknown", side="destination", status=400, code=code)
            return ReferencesMissing(key=task.key, fault=fault)
        api = task.destination.repository.registry in self.with_api
        if task.merges:
            return merge(task, here.tags, here.manifests, api=api)
        here.manifests[task.digest] = task.content
        if not task.destination.is_digest:
            here.tags[task.destination.name] = task.digest
        return ManifestPushed(key=task.key, registered=api and b'"subject"' in task.content)

    def complete(self, text: str, tag: str) -> bool:
        """Whether a tag exists with everything below it."""
        store = self.stores.get(str(parse_repository(text)), Store())
        todo = [store.tags.get(tag, "")]
        while todo:
            name = todo.pop()
            if name not in store.manifests:
                return False
            parsed = manifest(store.manifests[name])
            if any(each.digest not in store.blobs for each in parsed.blobs):
                return False
            todo += [child.digest for child in parsed.children]
        return True


def rule(source: str, *destinations: str, number: int = 0, options: RuleOptions = NO_OPTIONS) -> Rule:
    """A rule: `registry/path` for all tags or `registry/path:a,b`; destinations likewise."""
    path, names = _split(source)
    targets = [_split(each) for each in destinations]
    return Rule(
        number=number,
        line=number + 1,
        text=source,
        source=parse_repository(path),
        selection=Named(names=names) if names else AllTags(),
        targets=tuple(Target(repository=parse_repository(where), names=to or None) for where, to in targets),
        options=options,
    )


def _split(text: str) -> tuple[str, tuple[str, ...]]:
    """Parse `path:a,b`, `path@digest` or `path:tag@digest`."""
    if "@" in text:
        front, named = text.split("@")
        path, _, tag = front.partition(":")
        return path, (f"{tag}@{named}" if tag else named,)
    path, _, names = text.rpartition(":")
    return (path, tuple(names.split(","))) if path else (names, ())
