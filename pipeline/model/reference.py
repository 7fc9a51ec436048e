"""References: registry, repository, tag and digest, read as `docker pull` reads them.

Source: the grammar of distribution/reference, and the OCI distribution specification ("Pulling manifests").
Regular expressions are used with fullmatch only: `$` admits a trailing newline.
"""

from __future__ import annotations

import re

from pipeline.dataclass import dataclass
from pipeline.errors import RuleError

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


@dataclass(frozen=True, slots=True, order=True)
class Repository:
    """One repository of one registry, both in canonical form."""

    registry: str
    """`host` or `host:port`, lower case; Docker Hub is always `docker.io`."""
    path: str

    def __str__(self) -> str:
        """`registry/path`."""
        return f"{self.registry}/{self.path}"


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
    """Whether `text` matches the grammar of tags: at most 128 characters, ASCII."""
    return _TAG.fullmatch(text) is not None


def is_path(text: str) -> bool:
    """Whether `text` is the path of a repository by the grammar, of at most 255 characters."""
    return len(text) <= _MAX_PATH and _PATH.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Whether `text` is a sha256 or sha512 digest in lower-case hexadecimal."""
    return _DIGEST.fullmatch(text) is not None


def canonical_registry(registry: str) -> str:
    """A registry's canonical name: lower case, with `docker.io` for Docker Hub's aliases."""
    lower = registry.lower()
    return DOCKER_HUB if lower in _HUB_ALIASES else lower


def parse_repository(text: str) -> Repository:
    """Read `[registry/]path`.

    Raises:
        RuleError: the text does not match the grammar; the message says which part.
    """
    left, slash, rest = text.partition("/")
    has_registry = bool(slash) and (
        left == "localhost" or "." in left or ":" in left or left.startswith("[") or left.lower() != left
    )
    registry, path = (canonical_registry(left), rest) if has_registry else (DOCKER_HUB, text)
    if has_registry and (_REGISTRY.fullmatch(left) is None):
        raise RuleError(f"{left!r} is not a registry: expected host or host:port")
    if not has_registry and _IMAGE_ID.fullmatch(path):
        raise RuleError(f"{path!r} looks like an image ID, not a repository")
    if registry == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    return _checked(registry, path)


def parse_reference(text: str) -> Reference:
    """Read the canonical text of a reference, `registry/path:tag` or `registry/path@digest`.

    The inverse of `str`: the registry is required, in canonical form. `parse_repository` reads what users
    write.

    Raises:
        RuleError: the text is not such a reference; the message says which part.
    """
    registry, slash, rest = text.partition("/")
    if not slash or _REGISTRY.fullmatch(registry) is None or registry != canonical_registry(registry):
        raise RuleError(f"{text!r} is not a reference: expected registry/path:tag or registry/path@digest")
    path, at, digest = rest.partition("@")
    name = digest
    if not at:
        path, _, name = rest.partition(":")
    if not (is_digest(name) if at else is_tag(name)):
        raise RuleError(f"{text!r} is not a reference: {name!r} is not a {'digest' if at else 'tag'}")
    if registry == DOCKER_HUB and "/" not in path:
        raise RuleError(
            f"{text!r} is not a reference: repositories of {DOCKER_HUB} have at least two components"
        )
    return Reference(_checked(registry, path), name)


def _checked(registry: str, path: str) -> Repository:
    if _PATH.fullmatch(path) is None:
        hint = "; repository names must be lower case" if path != path.lower() else ""
        raise RuleError(f"{path!r} is not a repository name{hint}")
    if len(path) > _MAX_PATH:
        raise RuleError(f"the repository name has {len(path)} characters, the limit is {_MAX_PATH}")
    return Repository(registry, path)
