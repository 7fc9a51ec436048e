"""Keys of credentials: `registry` or `registry/namespace[/...]`, and how they match a repository.

A key matches by whole segments of the path, and the longest key wins. Names are normalised on both sides:
Docker Hub is one registry under all its names.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from pipeline.model.reference import DOCKER_HUB, canonical_registry, parse_repository

if TYPE_CHECKING:
    from pipeline.model.reference import Repository

Key = tuple[str, str]
"""Registry and path, both in canonical form; an empty path is the whole registry."""

_DEFAULT_PORT = re.compile(r":(?:443|80)$")
_API_PATHS = frozenset({"v1", "v2"})


def split_key(text: str) -> Key:
    """Parse a key, with or without a final slash.

    `docker login` writes `https://registry/v1/`; scheme and version are removed.

    Raises:
        RuleError: it is neither a registry nor a namespace.
    """
    rest = text.strip()
    scheme, found, behind = rest.partition("://")
    is_url = bool(found) and scheme.lower() in {"http", "https"}
    rest = (behind if is_url else rest).rstrip("/")
    repository = parse_repository(f"{rest}/x/x")
    path = repository.path.removesuffix("x/x").rstrip("/")
    return repository.registry, "" if is_url and path in _API_PATHS else path


@lru_cache(maxsize=1024)
def matching_keys(repository: Repository) -> tuple[Key, ...]:
    """All keys that match the repository, the longest path first; kept, since each request needs them.

    `docker.io/nginx` also matches the official image, as in `docker pull`.
    """
    parts = repository.path.split("/")
    paths = ["/".join(parts[:count]) for count in range(len(parts), -1, -1)]
    if repository.registry == DOCKER_HUB and parts[0] == "library":
        paths.insert(1, "/".join(parts[1:]))
    registries = registry_names(repository.registry)
    return tuple((registry, path) for path in paths for registry in registries)


@lru_cache(maxsize=256)
def registry_names(registry: str) -> tuple[str, ...]:
    """The names that a file may use for a registry: as it is, and without a default port."""
    bare = _DEFAULT_PORT.sub("", registry)
    return (registry,) if bare == registry else (registry, canonical_registry(bare))
