"""Series: the tags that differ only in their numbers, and their order.

Tags follow no standard: of 9,849 tags of Docker's official images, semantic versions order 768. So every run
of digits is a number wherever it stands, and numbers are compared from left to right. A commit's hash has no
order.
"""

from __future__ import annotations

import re
from functools import lru_cache

Numbers = tuple[int, ...]

_HASH = re.compile(
    r"(?<![0-9A-Za-z])(?P<prefix>g?)"
    r"(?=[0-9A-Fa-f]*[0-9])(?=[0-9A-Fa-f]*[A-Fa-f])"
    r"(?:[0-9A-Fa-f]{7,40}|[0-9A-Fa-f]{64}|[0-9A-Fa-f]{128})(?![0-9A-Za-z])"
)
"""Hexadecimal digits as long as a commit's hash or a digest, with a letter and a digit; `git describe` puts a
g in front."""
_DIGITS = re.compile(r"[0-9]+")


def without_hashes(tag: str) -> str:
    """The tag with `@` for each hash."""
    return _HASH.sub(r"\g<prefix>@", tag)


@lru_cache(maxsize=4096)
def series(tag: str) -> tuple[str, Numbers]:
    """The tag with `#` for each number and `@` for each hash, and the numbers from left to right.

    `3.14.0-alpine3.22` is in `#.#.#-alpine#.#` with 3, 14, 0, 3, 22.
    """
    text = without_hashes(tag)
    return _DIGITS.sub("#", text), tuple(map(int, _DIGITS.findall(text)))
