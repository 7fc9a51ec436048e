"""Conversion between facts and rows (key and JSON text); rows of another shape are ignored.

Values that equal the field's default are omitted: most rows are images that did not fail. Rows from before a
field with a default existed can be read for the same reason.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.model.facts import RESULTS, Claim, ImageRow, UnfinishedUpload

if TYPE_CHECKING:
    from pipeline.model.facts import Result
    from pipeline.model.reference import Repository

VERSION = 1
"""Version of the keys and values below; a store with a newer version is not touched."""
SEPARATOR = "\x1f"
"""Sorts before all characters of references, so keys sort by their parts: `a` before `a:b`."""

RUN = "run"
"""Key of the row that holds the state of the last run."""

_TYPES = {"str": str, "int": int, "bool": bool, "Result": str}
_Kind = TypeVar("_Kind", Claim, ImageRow)
_SHAPES: dict[type, dict[str, type]] = {
    kind: {field.name: _TYPES[str(field.type)] for field in fields(kind)} for kind in (Claim, ImageRow)
}
_DEFAULTS: dict[type, dict[str, Any]] = {
    kind: {field.name: field.default for field in fields(kind) if field.default is not MISSING}
    for kind in (Claim, ImageRow)
}


def key_of(*parts: str) -> str:
    """Join the parts of a key; by the grammar of references none contains the separator."""
    return SEPARATOR.join(parts)


def key_of_held(repository: Repository, digest: str) -> str:
    """Key of the row with the run that confirmed a blob or manifest last."""
    return key_of("held", repository.registry, repository.path, digest)


def key_of_session(repository: Repository, digest: str) -> str:
    """Key of the row of an unfinished upload."""
    return key_of("session", repository.registry, repository.path, digest)


def key_of_entered(repository: Repository) -> str:
    """Key of the row that says that a run has begun to write to a repository."""
    return key_of("entered", repository.registry, repository.path)


def key_of_image(row: ImageRow) -> str:
    """Key of an image's last result."""
    return key_of("image", row.source, row.destination, row.filter)


def key_of_seen(repository: Repository, tag: str, digest: str) -> str:
    """Key of the row that says when a tag was first seen with a digest."""
    return key_of("seen", repository.registry, repository.path, tag, digest)


def tag_of(run: str, result: Result) -> str:
    """Tag of an image's row, used in queries."""
    return f"{run} {result}"


def is_newer(version: str) -> bool:
    """Whether a store of that version was written by a later image-syncer."""
    return version.isascii() and version.isdigit() and int(version) > VERSION


def text_of_session(fact: UnfinishedUpload) -> str:
    """The fact as JSON; empty: the upload ended."""
    return json.dumps([fact.url, fact.offset]) if fact.url else ""


def built_session(repository: Repository, digest: str, value: Any) -> UnfinishedUpload | None:
    """The unfinished upload; None if the value has another shape."""
    match value:
        case [str(url), int(offset)] if url and offset > 0:
            return UnfinishedUpload(repository=repository, digest=digest, url=url, offset=offset)
    return None


def text_of(fact: Claim | ImageRow) -> str:
    """The fact as JSON."""
    usual = _DEFAULTS[type(fact)]
    values = {name: getattr(fact, name) for name in _SHAPES[type(fact)]}
    unusual = {name: value for name, value in values.items() if name not in usual or value != usual[name]}
    return json.dumps(unusual)


def parsed(text: str) -> Any:
    """The parsed JSON; None if it is invalid."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def built(kind: type[_Kind], value: Any) -> _Kind | None:
    """The fact of that kind; None if the value has another shape."""
    if not isinstance(value, dict):
        return None
    value = _DEFAULTS[kind] | value
    shape = _SHAPES[kind]
    if value.keys() != shape.keys():
        return None
    if not all(isinstance(value[name], expected) for name, expected in shape.items()):
        return None
    if value.get("result", "copied") not in RESULTS:
        return None
    return kind(**value)
