"""Facts as the JSON text of a row, and back: what does not have the right shape is no fact.

A value that is its field's default is left out, since most images do not fail and theirs are the most rows;
so rows written before a field with a default came are read too.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, fields
from typing import Any, TypeVar, get_args

from pipeline.model.facts import Claim, ImageRow, Result

_TYPES = {"str": str, "int": int, "bool": bool, "Result": str}
_Kind = TypeVar("_Kind", Claim, ImageRow)
_DEFAULTS: dict[type, dict[str, Any]] = {
    kind: {field.name: field.default for field in fields(kind) if field.default is not MISSING}
    for kind in (Claim, ImageRow)
}


def text_of(fact: Claim | ImageRow) -> str:
    """The fact as JSON."""
    usual = _DEFAULTS[type(fact)]
    values = asdict(fact).items()
    return json.dumps({name: value for name, value in values if name not in usual or value != usual[name]})


def parsed(text: str) -> Any:
    """The text taken apart; None where it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def built(kind: type[_Kind], value: Any) -> _Kind | None:
    """The fact of that kind; None where the value has another shape."""
    if not isinstance(value, dict):
        return None
    value = _DEFAULTS[kind] | value
    if value.keys() != {field.name for field in fields(kind)}:
        return None
    if not all(isinstance(value[field.name], _TYPES[str(field.type)]) for field in fields(kind)):
        return None
    if value.get("result", "copied") not in get_args(Result):
        return None
    return kind(**value)
