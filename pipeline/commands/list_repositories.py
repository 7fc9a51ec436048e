"""`list`: which repositories a namespace or a pattern has, or with --tags which references.

It shows what a pattern selects before a rule uses it. It reads the listings that a run reads, and no
records.
"""

from __future__ import annotations

import json
import time
from collections import deque
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline import __version__
from pipeline.commands.check.registry_check import DaemonPool
from pipeline.config.credentials import read_credentials
from pipeline.config.files import choose_files
from pipeline.config.keys import split_key
from pipeline.config.legacy import read_legacy
from pipeline.config.rules import make_defaults
from pipeline.errors import RegistryError, RuleError, ThrottledError, UsageError
from pipeline.model.catalogue import ListedTag, RepositoryListing
from pipeline.model.faults import short_listing
from pipeline.model.reference import Reference, Repository, is_tag
from pipeline.model.repository_pattern import below, is_repository_pattern, parse_repository_pattern
from pipeline.model.units import format_count
from pipeline.registry.clients import Clients
from pipeline.settings import PAGE, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pipeline.config.keyring import Keyring
    from pipeline.model.repository_pattern import RepositoryPattern
    from pipeline.settings import Options

T = TypeVar("T")

SCHEMA = 1
"""Version of the JSON object: fields may be added, and none changes its meaning."""
_AT_A_TIME = 8
"""Simultaneous requests, unless the registry's `requests` allows fewer."""


def list_repositories(
    options: Options,
    environ: Mapping[str, str],
    *,
    tell: Callable[[str], None],
    show: Callable[[str], None],
) -> int:
    """List what a namespace or pattern has; returns the exit code.

    Args:
        options: the command line.
        environ: the environment.
        tell: prints a line for a person.
        show: prints a line on standard output.

    Raises:
        UsageError, FileError: before any request.
        RegistryError: the listing failed, or may be incomplete.
    """
    pattern = _pattern(options.words[0])
    keyring = _keyring(options, environ)
    keyring.require((Repository(pattern.registry, pattern.fixed),))
    lister = _Lister(pattern, keyring, Settings(patience=options.patience))
    try:
        paths = sorted(lister.repositories())
        printed = _show_object if options.json else _show_text
        failed = printed(lister, paths, with_tags=options.tags, show=show, tell=tell)
    finally:
        lister.pool.stop()
    if not options.quiet:
        many = format_count(len(paths), "repository", "repositories")
        left_out = lister.listing.left_out()
        tell(f"image-syncer: {pattern} has {many}, by the catalogue {lister.kind}{left_out}")
    return 1 if failed else 0


def _pattern(word: str) -> RepositoryPattern:
    try:
        if is_repository_pattern(word):
            return parse_repository_pattern(word)
        return below(*split_key(word))
    except RuleError as error:
        raise UsageError(f"list {word}: {error}") from error


def _keyring(options: Options, environ: Mapping[str, str]) -> Keyring:
    files = choose_files(auth=options.auth, images=(), config=options.config, rules_needed=False)
    if files.config is not None:
        return read_legacy(files.config, defaults=make_defaults("", ""), environ=environ)[0]
    return read_credentials(files.auth, environ=environ)[0]


class _Lister:
    """Sends requests to one registry, a few at a time."""

    def __init__(self, pattern: RepositoryPattern, keyring: Keyring, settings: Settings) -> None:
        """Start without requests."""
        clients = Clients(settings, keyring.find, keyring.forget, keyring.settings)
        most = keyring.settings(pattern.registry).requests or _AT_A_TIME
        self._pattern, self._patience = pattern, settings.patience
        self._catalogue = clients.catalogue(pattern.registry)
        self._client = clients.at(pattern.registry)
        self._most = min(most, _AT_A_TIME)
        self.pool = DaemonPool(self._most)
        self.listing = RepositoryListing(pattern)

    @property
    def kind(self) -> str:
        """The kind of catalogue."""
        return self._catalogue.kind

    def repositories(self) -> Iterator[str]:
        """The paths that match.

        Raises:
            RegistryError: a page failed, or the listing may be incomplete.
        """
        listing, namespace = self.listing, self._pattern.fixed
        while listing.pages and not listing.trouble:
            pages = [listing.pages.popleft() for _ in range(min(self._most, len(listing.pages)))]
            asks = (partial(self._catalogue.repositories, namespace, page=page) for page in pages)
            for page in self._side_by_side(asks):
                yield from listing.take(page)
        listing.end()
        if listing.trouble:
            raise RegistryError(short_listing(self._pattern.registry, namespace, listing.trouble))

    def tags(self, paths: Iterable[str]) -> Iterator[tuple[ListedTag, ...] | RegistryError]:
        """The tags of each repository, in order; or why they cannot be listed."""
        return self._side_by_side(partial(self._tags, path) for path in paths)

    def _tags(self, path: str) -> tuple[ListedTag, ...] | RegistryError:
        repository = Repository(self._pattern.registry, path)
        try:
            listed = self._listed(repository)
            found = self._named(repository) if listed is None else listed
        except RegistryError as error:
            return error
        return tuple({tag.name: tag for tag in found if is_tag(tag.name)}.values())

    def _listed(self, repository: Repository) -> list[ListedTag] | None:
        """From a listing with digests; None if there is no such listing."""
        found: list[ListedTag] = []
        page, asked = self._catalogue.tags(repository), {""}
        while page is not None:
            found.extend(page.tags)
            trouble = page.short or ("it loops" if page.next in asked and page.next else "")
            if trouble:
                raise RegistryError(short_listing(repository.registry, repository.path, trouble))
            if not page.next:
                return found
            asked.add(page.next)
            page = self._catalogue.tags(repository, page=page.next)
        return None

    def _named(self, repository: Repository) -> list[ListedTag]:
        found: list[ListedTag] = []
        page, asked = "", set[str]()
        while page not in asked:
            asked.add(page)
            answer = self._client.tags(repository, page=page, count=PAGE)
            found.extend(map(ListedTag, answer.tags))
            if not answer.next:
                return found
            page = answer.next
        raise RegistryError(short_listing(repository.registry, repository.path, "it loops"))

    def _side_by_side(self, asks: Iterator[Callable[[], T]]) -> Iterator[T]:
        """The answers in order, with a few requests ahead."""
        begun = (self.pool.submit(partial(self._patiently, ask)) for ask in asks)
        running = deque(islice(begun, self._most))
        while running:
            yield running.popleft().result()
            running.extend(islice(begun, 1))

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Make a request, and wait as long as the registry pauses, within the patience of the run."""
        ends = time.monotonic() + self._patience
        while True:
            try:
                return ask()
            except ThrottledError as error:
                if time.monotonic() + error.delay > ends:
                    raise
                time.sleep(error.delay)


def _each(
    lister: _Lister, paths: list[str], *, with_tags: bool, tell: Callable[[str], None]
) -> Iterator[tuple[Repository, tuple[ListedTag, ...], RegistryError | None]]:
    """Each repository with its tags; one that cannot be listed is reported."""
    registry = lister.listing.registry
    found = lister.tags(paths) if with_tags else (() for _ in paths)
    for path, tags in zip(paths, found, strict=True):
        repository = Repository(registry, path)
        if isinstance(tags, RegistryError):
            tell(f"image-syncer: {tags.fault}")
            yield repository, (), tags
        else:
            if with_tags and not tags:
                tell(f"image-syncer: {repository} has no tags")
            yield repository, tags, None


def _show_text(
    lister: _Lister,
    paths: list[str],
    *,
    with_tags: bool,
    show: Callable[[str], None],
    tell: Callable[[str], None],
) -> int:
    """Print one line for each repository or reference; returns how many could not be listed."""
    failed = 0
    for repository, tags, error in _each(lister, paths, with_tags=with_tags, tell=tell):
        failed += error is not None
        lines = [str(Reference(repository, tag.name)) for tag in tags] if with_tags else [str(repository)]
        for line in lines:
            show(line)
    return failed


def _show_object(
    lister: _Lister,
    paths: list[str],
    *,
    with_tags: bool,
    show: Callable[[str], None],
    tell: Callable[[str], None],
) -> int:
    """Print one JSON object, one line for each repository; returns how many could not be listed."""
    head = json.dumps({"schema": SCHEMA, "version": __version__, "catalogue": lister.kind})
    show(f'{head[:-1]}, "repositories": [')
    failed = 0
    for place, (repository, tags, error) in enumerate(_each(lister, paths, with_tags=with_tags, tell=tell)):
        failed += error is not None
        entry: dict[str, Any] = {"repository": str(repository)}
        if with_tags:
            entry |= {"tags": [_as_object(tag) for tag in tags], "error": str(error.fault) if error else None}
        show(f"{',' if place else ''}{json.dumps(entry)}")
    counts = {"not_matched": lister.listing.others, "invalid_names": lister.listing.invalid, "failed": failed}
    show(f"], {json.dumps(counts)[1:]}")
    return failed


def _as_object(tag: ListedTag) -> dict[str, str | None]:
    pushed = datetime.fromtimestamp(tag.pushed, UTC).isoformat(timespec="seconds") if tag.pushed else None
    return {"tag": tag.name, "digest": tag.digest or None, "pushed": pushed}
