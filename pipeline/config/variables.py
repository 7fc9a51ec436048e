"""Expand `$VAR` and `${VAR}` in users' files.

Unset variables stay as they are: Harbor's robot accounts are named `robot$name`, and passwords may contain
`$`. The caller decides what an unset variable means. Values are not expanded again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = re.compile(rf"\$(?:(?P<dollar>\$)|\{{(?P<braced>{_NAME})\}}|(?P<bare>{_NAME}))")


def expand(text: str, environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Replace every variable that is set; `$$` becomes `$`.

    Returns:
        The text, and the names of the variables that are not set.
    """
    unset = []

    def replace(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        name = match["braced"] or match["bare"]
        if name not in environ:
            unset.append(name)
            return match[0]
        return environ[name]

    return _VARIABLE.sub(replace, text), tuple(unset)


def sole_variable(text: str) -> str:
    """The name of the variable if `text` is nothing but one `$VAR` or `${VAR}`, else empty."""
    match = _VARIABLE.fullmatch(text)
    return (match["braced"] or match["bare"] or "") if match else ""
