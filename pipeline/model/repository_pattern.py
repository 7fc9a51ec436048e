"""Patterns of repositories: `registry/team/**`, `registry/team/api-*`, and filters on what lies below.

`*` stays within a part of the path, `**` crosses parts, as in Harbor's replication rules. Globs of a part are
matched by Python's fnmatch, which is linear; parts are matched one by one, so no pattern takes long.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import field
from functools import lru_cache
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.errors import RuleError
from pipeline.model.patterns import compile_pattern
from pipeline.model.reference import is_path, parse_repository

if TYPE_CHECKING:
    from collections.abc import Callable

ANY_DEPTH = "**"
_GLOB = re.compile(r"[*?\[]")
_PART = re.compile(r"[a-z0-9._*?\[\]!^-]+")
"""Of a path with globs."""
_MAX_PARTS = 32


@dataclass(frozen=True, slots=True)
class RepositoryPattern:
    """The repositories of one registry whose path matches."""

    registry: str
    path: str
    """The pattern, with `*` in it."""
    include: tuple[str, ...] = ()
    """Patterns of paths below the fixed part, of which one has to match; empty: all match."""
    exclude: tuple[str, ...] = ()
    """Likewise, of which none may match."""
    _matches: Callable[[str], bool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile; raises RuleError for a pattern that is invalid."""
        object.__setattr__(self, "_matches", _matcher(self.path))
        for each in (*self.include, *self.exclude):
            path_matcher(each)

    def __reduce__(self) -> tuple[type[RepositoryPattern], tuple[object, ...]]:
        """Pickle without the compiled pattern."""
        return RepositoryPattern, (self.registry, self.path, self.include, self.exclude)

    @property
    def fixed(self) -> str:
        """The parts before the first one with a `*`; empty if there are none."""
        parts = self.path.split("/")
        count = next(place for place, part in enumerate(parts) if _GLOB.search(part))
        return "/".join(parts[:count])

    def rest(self, path: str) -> str:
        """The value of `{rest}`: a matching path from the first part with a `*` on."""
        return path[len(self.fixed) + 1 :] if self.fixed else path

    def matches(self, path: str) -> bool:
        """Whether a repository's path matches."""
        below = self.rest(path)
        return (
            self._matches(path)
            and (not self.include or any(path_matcher(each)(below) for each in self.include))
            and not any(path_matcher(each)(below) for each in self.exclude)
        )

    def __str__(self) -> str:
        """`registry/path`."""
        return f"{self.registry}/{self.path}"


def is_repository_pattern(text: str) -> bool:
    """Whether a source names many repositories: a `*` in its path."""
    head = text.partition(":/")[0]
    last = head.rfind("/") + 1
    return "*" in head[:last] + head[last:].partition(":")[0]


def parse_repository_pattern(
    text: str, *, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()
) -> RepositoryPattern:
    """Read `registry/path` with a `*` in its path.

    Raises:
        RuleError: the registry or a part is invalid, or the registry has to be written out.
    """
    registry, slash, path = text.partition("/")
    if not slash or not ("." in registry or ":" in registry or registry == "localhost"):
        raise RuleError(f"{text!r} names no registry", hint="a source with * needs it: docker.io/team/*")
    known = parse_repository(f"{registry}/x/x").registry
    for part in path.split("/"):
        if not (_PART.fullmatch(part) and (_GLOB.search(part) or is_path(part))):
            raise RuleError(f"{part!r} is not part of a repository's name", hint="write team/*, or team/**")
    return RepositoryPattern(known, path, include, exclude)


@lru_cache(maxsize=256)
def path_matcher(pattern: str) -> Callable[[str], bool]:
    """Compile a pattern of `repositories`: a path, a glob of paths, or an RE2 expression in slashes.

    Raises:
        RuleError: it is invalid.
    """
    if len(pattern) > 2 and pattern.startswith("/") and pattern.endswith("/"):  # noqa: PLR2004 - both slashes
        return compile_pattern(pattern[1:-1])
    if not pattern or pattern.startswith("/") or pattern.endswith("/"):
        hint = "write a path below the fixed part, such as sandbox/** or *-test"
        raise RuleError(f"{pattern!r} is not a pattern of repositories", hint=hint)
    return _matcher(pattern)


def _matcher(pattern: str) -> Callable[[str], bool]:
    parts = pattern.split("/")
    if len(parts) > _MAX_PARTS:
        raise RuleError(f"the pattern {pattern[:40]!r}... has more than {_MAX_PARTS} parts")
    if parts[-1] == ANY_DEPTH:
        parts.insert(-1, "*")  # team/** matches what is below team, not team itself
    tests = [None if part == ANY_DEPTH else _part_matcher(part) for part in parts]

    def after(place: int) -> list[int]:
        """The places that can be next: `**` may stand for no part at all."""
        places = [place]
        while place < len(tests) and tests[place] is None:
            place += 1
            places.append(place)
        return places

    def matches(path: str) -> bool:
        places = set(after(0))
        for part in path.split("/"):
            reached: set[int] = set()
            for place in places:
                if place == len(tests):
                    continue
                test = tests[place]
                if test is None:
                    reached.update(after(place))
                elif test(part):
                    reached.update(after(place + 1))
            places = reached
        return len(tests) in places

    return matches


def _part_matcher(part: str) -> Callable[[str], bool]:
    if not _GLOB.search(part):
        return part.__eq__
    expression = re.compile(fnmatch.translate(part.replace("[^", "[!")))
    return lambda text: expression.match(text) is not None


def below(registry: str, namespace: str) -> RepositoryPattern:
    """Everything below a namespace, at any depth; of an empty one, the whole registry."""
    return RepositoryPattern(registry, f"{namespace}/{ANY_DEPTH}" if namespace else ANY_DEPTH)
