"""Patterns of tags: literals, globs of the whole tag, and RE2 expressions that match anywhere.

A tag holds none of `* ? [ /`, so no pattern has two meanings. Expressions are RE2, as in existing rules
files: Python's `re` reads some of them differently (`[[:alpha:]]`), rejects others (`(?<name>x)`), and takes
exponential time for a few.
"""

from __future__ import annotations

import fnmatch
import re
import string
from collections.abc import Callable
from functools import lru_cache

from pipeline.errors import RuleError
from pipeline.model.reference import is_tag

Matcher = Callable[[str], bool]
"""Whether a tag matches."""

_ESCAPES = re.compile(r"\\Q.*?(?:\\E|\Z)|\\(.)", re.DOTALL)
"""A quoted text, or one escape sequence."""
_GLOB = re.compile(r"[*?\[]")
_SIGNS = re.compile(r"[\\^$+(|]")
"""Of regular expressions; neither tags nor globs hold them, but for ^ in a set."""
_PARTS = re.compile(r"\[[!^]?\]?[^\]]*\]|.", re.DOTALL)
"""Of a glob: a set, or one character."""
_FIRST = f"{string.ascii_letters}{string.digits}_"
_LATER = f"{_FIRST}.-"
"""Characters of tags."""
_LONGEST = 128


def is_literal(pattern: str) -> bool:
    """Whether a pattern is a literal tag."""
    return not (pattern.startswith("/") or _GLOB.search(pattern))


@lru_cache(maxsize=256)
def tag_matcher(pattern: str) -> Matcher:
    """Compile a literal, a glob, or an expression in slashes.

    Raises:
        RuleError: it is invalid, or no tag can match it.
    """
    if pattern.startswith("/"):
        if len(pattern) < 2 or not pattern.endswith("/"):  # noqa: PLR2004 - both slashes
            raise RuleError(f"the regular expression {pattern} is not closed", hint="write /REGEX/")
        return compile_pattern(pattern[1:-1])
    if is_literal(pattern):
        if not is_tag(pattern):
            hint = _as_expression(pattern) or "write a tag, a glob like 1.2*, or /REGEX/"
            raise RuleError(f"no tag can be '{pattern}'", hint=hint)
        return pattern.__eq__
    _check_glob(pattern)
    expression = re.compile(_translated(pattern))
    return lambda tag: expression.match(tag) is not None


def _check_glob(pattern: str) -> None:
    """Refuse a glob that no tag matches."""
    parts = _PARTS.findall(pattern)
    for place, part in enumerate(parts):
        if part == "[":
            raise RuleError(f"the set in the glob {pattern!r} is not closed", hint="write [a-z]")
        fits = re.compile(_translated(part)).match
        if part != "*" and not any(map(fits, _LATER if place else _FIRST)):
            where = "tags hold no" if place else "tags begin with no"
            hint = _as_expression(pattern) or "a glob is compared with the whole tag, without the repository"
            shown = part if part.isprintable() and part.strip() else repr(part)
            raise RuleError(f"no tag matches '{pattern}': {where} {shown}", hint=hint)
    if len(parts) - parts.count("*") > _LONGEST:
        raise RuleError(f"no tag matches {pattern[:40]!r}...: tags have at most {_LONGEST} characters")


def _as_expression(pattern: str) -> str:
    """How to write what looks like a regular expression; empty: it does not."""
    return f"write a regular expression between slashes: /{pattern}/" if _SIGNS.search(pattern) else ""


def _translated(glob: str) -> str:
    """The glob as an expression of Python's `re`; linear in time, by atomic groups."""
    return fnmatch.translate(glob.replace("[^", "[!"))


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Matcher:
    """Compile an RE2 expression as Go's regexp reads it; linear in time on any input.

    Raises:
        RuleError: the expression is invalid (with RE2's message), or google-re2 is not installed.
    """
    try:
        import re2  # noqa: PLC0415 - only rules with an expression need it
    except ImportError:
        raise RuleError(
            "regular expressions need google-re2, which is not installed: pip install google-re2"
        ) from None
    if not hasattr(re2, "Options"):
        raise RuleError("regular expressions need google-re2, but another package provides the module re2")
    options = re2.Options()
    # Otherwise RE2 writes errors to standard error.
    options.log_errors = False
    try:
        expression = re2.compile(pattern, options)
    except re2.error as error:
        words = error.args[0] if error.args else "not understood"
        words = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
        raise RuleError(f"invalid regular expression /{pattern}/: {words}") from None
    except UnicodeEncodeError:
        raise RuleError(
            f"invalid regular expression {pattern!r}: it holds half of a surrogate pair"
        ) from None
    if any(found[1] == "C" for found in _ESCAPES.finditer(pattern)):
        raise RuleError(f"invalid regular expression /{pattern}/: \\C, a single byte, is not supported")
    return lambda tag: expression.search(tag) is not None
