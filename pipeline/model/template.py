"""Templates of destinations: `registry.example.com/mirror/{name}:{tag}`.

Placeholders are replaced by parts of the source's repository and, after the last colon, by a tag. Except
for {registry} at the start, they never supply the registry: otherwise the path of a source would decide
which host gets its content.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from pipeline.errors import RuleError
from pipeline.model.units import meant

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipeline.model.reference import Repository

TAG = "{tag}"
"""It stays in a filled template, since tags are known later."""
REST = "{rest}"

_LONGEST = 255
_PLACEHOLDER = re.compile(r"\{(?P<name>[^{}]*)\}|[{}]")


class TextPiece(NamedTuple):
    """A piece of text, and whether the user wrote it: only then are placeholders replaced."""

    text: str
    written: bool


def has_placeholder(pieces: Sequence[TextPiece]) -> bool:
    """Whether a destination depends on its source."""
    return any(piece.written and _PLACEHOLDER.search(piece.text) for piece in pieces)


def fill(pieces: Sequence[TextPiece], source: Repository, *, rest: str = "") -> str:
    """Replace placeholders by the parts of a source's repository.

    Args:
        pieces: the destination.
        source: the repository.
        rest: the value of {rest}; empty: the same as {name}.

    Returns:
        The destination; {tag} stays, and can only be in its tag.

    Raises:
        RuleError: a placeholder is unknown or in the wrong place.
    """
    if not has_placeholder(pieces):
        return "".join(piece.text for piece in pieces)
    values, text = _values(source), ""
    values["rest"] = rest or values["rest"]
    places: list[tuple[int, str]] = []
    for piece in pieces:
        if not piece.written and _PLACEHOLDER.search(piece.text):
            raise RuleError("a variable puts a brace into the destination", hint="write placeholders out")
        end = 0
        for found in _PLACEHOLDER.finditer(piece.text):
            text += piece.text[end : found.start()]
            end, place = found.end(), len(text)
            places.append((place, found[0]))
            text += _value(found[0], values, source, in_front=not place)
        text += piece.text[end:]
    _check_places(text, places, source)
    if len(text) > _LONGEST:
        raise RuleError(f"the destination {text} has {len(text)} characters, the limit is {_LONGEST}")
    return text


def _values(source: Repository) -> dict[str, str]:
    namespace, _, name = source.path.rpartition("/")
    return {
        "registry": source.registry,
        "path": source.path,
        "namespace": namespace,
        "name": name,
        "rest": name,
        "flat": source.path.replace("/", "-"),
        "tag": TAG,
    }


def _value(placeholder: str, values: dict[str, str], source: Repository, *, in_front: bool) -> str:
    name = placeholder[1:-1]
    if name not in values:
        hint = f"known are {', '.join(f'{{{known}}}' for known in values)}"
        raise RuleError(f"{placeholder} is not a placeholder{meant(name, values)}", hint=hint)
    if not values[name]:
        raise RuleError(f"{placeholder} is empty: {source} has no namespace", hint="write {path}")
    return values[name].replace(":", "-") if name == "registry" and not in_front else values[name]


def _check_places(text: str, places: Iterable[tuple[int, str]], source: Repository) -> None:
    front, slash, _ = text.partition("/")
    tag_begins = text.rfind(":") if text.rfind(":") > text.rfind("/") else len(text)
    for place, placeholder in places:
        if placeholder == TAG and place < tag_begins:
            raise RuleError("{tag} is before the tag", hint="write it after the last colon")
        is_registry = placeholder == "{registry}" and front == source.registry
        if (place < len(front) or not slash) and not (slash and is_registry):
            hint = "write the registry out, or start with {registry}/"
            raise RuleError(f"{placeholder} cannot name the registry", hint=hint)
