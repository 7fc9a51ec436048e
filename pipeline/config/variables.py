"""Expand `$VAR` and `${VAR}` in users' files.

Unset variables stay as they are: Harbor's robot accounts are named `robot$name`, and passwords may contain
`$`. The caller decides what an unset variable means. Values are not expanded again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline.model.template import TextPiece

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = re.compile(rf"\$(?:(?P<dollar>\$)|\{{(?P<braced>{_NAME})\}}|(?P<bare>{_NAME}))")


def expand(text: str, environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Replace every variable that is set; `$$` becomes `$`.

    Returns:
        The text, and the names of the variables that are not set.
    """
    pieces, unset = expanded_pieces(text, environ)
    return "".join(piece.text for piece in pieces), unset


def expanded_pieces(text: str, environ: Mapping[str, str]) -> tuple[tuple[TextPiece, ...], tuple[str, ...]]:
    """As `expand`, in pieces: the written text apart from the values of variables."""
    pieces, unset, end = [], [], 0
    for match in _VARIABLE.finditer(text):
        pieces.append(TextPiece(text[end : match.start()], written=True))
        name, end = match["braced"] or match["bare"], match.end()
        if name and name not in environ:
            unset.append(name)
        pieces.append(TextPiece("$" if match["dollar"] else environ.get(name, match[0]), written=False))
    return (*pieces, TextPiece(text[end:], written=True)), tuple(unset)


def sole_variable(text: str) -> str:
    """The name of the variable if `text` is nothing but one `$VAR` or `${VAR}`, else empty."""
    match = _VARIABLE.fullmatch(text)
    return (match["braced"] or match["bare"] or "") if match else ""
