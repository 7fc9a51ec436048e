"""References: registry, repository, tag, digest, as `docker pull` reads them.

Source: the grammar of distribution/reference, and the OCI distribution specification ("Pulling manifests").
Regular expressions are used with fullmatch only: `$` admits a trailing newline.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.errors import RuleError
from pipeline.model.fast_pickle import fast_pickle

DOCKER_HUB = "docker.io"
_HUB_ALIASES = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
_DOMAIN_COMPONENT = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_REGISTRY = re.compile(
    rf"(?:{_DOMAIN_COMPONENT}(?:\.{_DOMAIN_COMPONENT})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?",
)
_PATH_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PATH_COMPONENT}(?:/{_PATH_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_MAX_PATH = 255


@fast_pickle
@dataclass(frozen=True, slots=True, order=True)
class Repository:
    """One repository of one registry, both in canonical form."""

    registry: str
    """`host` or `host:port`, lower case; Docker Hub is `docker.io` under all its names."""
    path: str

    def __str__(self) -> str:
        """`registry/path`."""
        return f"{self.registry}/{self.path}"


@fast_pickle
@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """One tag or one digest of a repository."""

    repository: Repository
    name: str
    """The tag, or the digest."""

    @property
    def is_digest(self) -> bool:
        """Whether `name` is a digest: a tag never holds a colon."""
        return ":" in self.name

    def __str__(self) -> str:
        """`registry/path:tag` or `registry/path@digest`."""
        return f"{self.repository}{'@' if self.is_digest else ':'}{self.name}"


def is_tag(text: str) -> bool:
    """Whether `text` is a tag by the grammar: at most 128 characters, ASCII."""
    return _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Whether `text` is a digest whose algorithm we can compute: sha256 or sha512, lower-case hexadecimal."""
    return _DIGEST.fullmatch(text) is not None


def canonical_registry(registry: str) -> str:
    """The one name of a registry: lower case, Docker Hub's aliases as `docker.io`."""
    lower = registry.lower()
    return DOCKER_HUB if lower in _HUB_ALIASES else lower


def parse_repository(text: str) -> Repository:
    """Read `[registry/]path`.

    Raises:
        RuleError: the text is no repository by the grammar; the message says which part.
    """
    left, slash, rest = text.partition("/")
    has_registry = bool(slash) and (
        left == "localhost" or "." in left or ":" in left or left.startswith("[") or left.lower() != left
    )
    registry, path = (canonical_registry(left), rest) if has_registry else (DOCKER_HUB, text)
    if has_registry and (_REGISTRY.fullmatch(left) is None):
        raise RuleError(f"{left!r} is no registry: expected host or host:port")
    if not has_registry and _IMAGE_ID.fullmatch(path):
        raise RuleError(f"{path!r} looks like an image ID, not like a repository")
    if registry == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    return _checked(registry, path)


def parse_reference(text: str) -> Reference:
    """Read the canonical text of a reference, `registry/path:tag` or `registry/path@digest`.

    The exact inverse of `str`: the registry stands there always and in its canonical form, so that what
    users write goes through `parse_repository` instead.

    Raises:
        RuleError: the text is no such reference; the message says which part.
    """
    registry, slash, rest = text.partition("/")
    if not slash or _REGISTRY.fullmatch(registry) is None or registry != canonical_registry(registry):
        raise RuleError(f"{text!r} is no reference: expected registry/path:tag or registry/path@digest")
    path, at, digest = rest.partition("@")
    name = digest
    if not at:
        path, _, name = rest.partition(":")
    if not (is_digest(name) if at else is_tag(name)):
        raise RuleError(f"{text!r} is no reference: {name!r} is no {'digest' if at else 'tag'}")
    if registry == DOCKER_HUB and "/" not in path:
        raise RuleError(f"{text!r} is no reference: repositories of {DOCKER_HUB} have two parts or more")
    return Reference(_checked(registry, path), name)


def _checked(registry: str, path: str) -> Repository:
    if _PATH.fullmatch(path) is None:
        hint = "; repository names are lower case" if path != path.lower() else ""
        raise RuleError(f"{path!r} is no repository name{hint}")
    if len(path) > _MAX_PATH:
        raise RuleError(f"the repository name has {len(path)} characters, the limit is {_MAX_PATH}")
    return Repository(registry, path)
