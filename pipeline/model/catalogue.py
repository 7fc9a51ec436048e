"""Catalogues: the interfaces by which registries list repositories, and their answers as data.

A catalogue is not trusted: a name counts only if it is a valid repository in the requested namespace that
matches the pattern. A listing that may be incomplete is not used.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal, get_args

from pipeline.dataclass import dataclass
from pipeline.model.reference import DOCKER_HUB, is_path
from pipeline.model.units import format_count

if TYPE_CHECKING:
    from pipeline.model.repository_pattern import RepositoryPattern

CatalogueKind = Literal["v2", "harbor", "hub", "quay", "gitlab", "ghcr", "gar", "acr", "ecr"]
KINDS: tuple[CatalogueKind, ...] = get_args(CatalogueKind)

MAX_REPOSITORIES = 100_000
"""Maximum repositories of one pattern."""
MAX_PAGES = 20_000
"""Maximum pages of one listing."""

_API_HOSTS = {DOCKER_HUB: "hub.docker.com", "ghcr.io": "api.github.com"}
"""The only hosts besides the registry itself that get its login."""
_KINDS_BY_HOST: dict[str, CatalogueKind] = {
    DOCKER_HUB: "hub",
    "ghcr.io": "ghcr",
    "quay.io": "quay",
    "gcr.io": "gar",
}
_KINDS_BY_DOMAIN: dict[str, CatalogueKind] = {
    ".gcr.io": "gar",
    "-docker.pkg.dev": "gar",
    ".azurecr.io": "acr",
    ".azurecr.cn": "acr",
    ".azurecr.us": "acr",
    ".amazonaws.com": "ecr",
    ".amazonaws.com.cn": "ecr",
    ".on.aws": "ecr",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueSetting:
    """The value of `catalog` in the credentials file."""

    kind: CatalogueKind
    host: str = ""
    """`host` or `host:port` of the interface; empty: the default of the kind."""
    prefix: str = ""
    """Path before the interface's own, with a leading slash; empty: none."""


def known_kind(registry: str) -> CatalogueKind | None:
    """The kind of a vendor's registry, by its name; None: it has to be probed."""
    domains = (kind for domain, kind in _KINDS_BY_DOMAIN.items() if registry.endswith(domain))
    return _KINDS_BY_HOST.get(registry) or next(domains, None)


def api_host(registry: str, setting: CatalogueSetting | None) -> str:
    """The host of the interface that lists the registry's repositories."""
    named = setting.host if setting else ""
    return named or _API_HOSTS.get(registry, registry)


def is_pair(registry: str, host: str) -> bool:
    """Whether the registry's login may go to this host of an interface."""
    return host == registry or _API_HOSTS.get(registry) == host


@dataclass(frozen=True, slots=True)
class ListedTag:
    """One tag of a listing with digests."""

    name: str
    digest: str = ""
    """The digest that it points to; empty: not stated."""
    pushed: float = 0.0
    """When it was pushed, in seconds since 1970; 0: not stated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryPage:
    """One page of the repositories of a namespace."""

    paths: tuple[str, ...]
    """As listed: unchecked, and perhaps of another namespace."""
    more: tuple[str, ...] = ()
    """The pages that follow from this one; empty: none."""
    total: int = -1
    """Repositories of all pages, as the registry states it; -1: not stated."""
    short: str = ""
    """Why the listing may be incomplete; empty: no reason is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedTagPage:
    """One page of a listing of tags with digests."""

    tags: tuple[ListedTag, ...]
    entries: int
    """The number of entries: tags, or manifests with their tags."""
    next: str = ""
    """The next page; empty: this is the last one."""
    total: int = -1
    """Entries of all pages, as the registry states it; -1: not stated."""
    short: str = ""
    """Why the listing may be incomplete."""


class RepositoryListing:
    """A listing that is being read: remaining pages, found repositories, and whether to trust it."""

    def __init__(self, pattern: RepositoryPattern) -> None:
        """Start with the first page."""
        self._pattern = pattern
        self.registry = pattern.registry
        self.pages: deque[str] = deque([""])
        """Unread pages."""
        self._asked = {""}
        self._found: set[str] = set()
        self._listed: set[str] = set()
        self._total = -1
        self.trouble = ""
        """Why the listing must not be used; empty: it may be used."""
        self.invalid = 0
        """Names that are invalid, or in another namespace."""
        self.others = 0
        """Repositories that the pattern does not match."""

    def take(self, page: RepositoryPage) -> tuple[str, ...]:
        """Add a page; returns the paths that match and are new, as listed."""
        new = []
        for path in page.paths:
            if path in self._listed:
                continue
            self._listed.add(path)
            if not is_path(path):
                self.invalid += 1
            elif not self._pattern.matches(path):
                self.others += 1
            else:
                self._found.add(path)
                new.append(path)
        self._total = page.total if page.total >= 0 else self._total
        self._turn(page)
        return tuple(new)

    def _turn(self, page: RepositoryPage) -> None:
        fresh = [each for each in page.more if each not in self._asked]
        self.pages.extend(fresh)
        self._asked.update(fresh)
        if page.short:
            self.trouble = page.short
        elif len(fresh) < len(page.more):
            self.trouble = "it loops: a page leads back to an earlier one"
        elif len(self._found) > MAX_REPOSITORIES or len(self._listed) > 10 * MAX_REPOSITORIES:
            self.trouble = f"more than {MAX_REPOSITORIES:,} repositories: use a narrower pattern"
        elif len(self._asked) > MAX_PAGES:
            self.trouble = f"it does not end after {MAX_PAGES:,} pages"

    def end(self) -> None:
        """End the listing: compare the number of repositories with the registry's."""
        listed = len(self._listed)
        if not self.trouble and listed < self._total:
            self.trouble = f"it has {listed:,} entries, but the registry counts {self._total:,}"

    def left_out(self) -> str:
        """How many listed repositories the pattern does not match, as the end of a sentence."""
        parts = []
        if self.others:
            parts.append(f"{format_count(self.others, 'other')} not matched")
        if self.invalid:
            parts.append(f"{format_count(self.invalid, 'name')} left out: not a repository's")
        return "".join(f", {part}" for part in parts)
