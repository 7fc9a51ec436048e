"""JSON from registries: strict reading with one kind of error, and deterministic writing.

The standard library accepts what registries may read differently (duplicate keys, NaN, lone surrogates) and
raises three kinds of exceptions for the rest.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from pipeline.errors import ManifestError

_MAX_DIGITS = 100
"""Of an integer; the standard library's own error message is about interpreter flags."""


def load(content: bytes) -> dict[str, Any]:
    """Read one JSON object in UTF-8 (RFC 8259).

    Raises:
        ManifestError: not an object, nested too deep, a duplicate key, an invalid or too long number, or
            invalid Unicode.
    """
    try:
        # Decode here: json.loads would guess UTF-16 and UTF-32 from the first bytes.
        document = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_short,
        )
        # json.loads accepts a lone surrogate; encoding it fails.
        dump(document)
    except RecursionError:
        raise ManifestError("the JSON is nested too deep") from None
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise ManifestError(f"the text is not UTF-8: {error.reason}") from None
    except ValueError as error:
        raise ManifestError(f"the content is not JSON: {error}; it begins with {content[:40]!r}") from None
    if not isinstance(document, dict):
        raise ManifestError(f"the JSON is not an object; it begins with {content[:40]!r}")
    return document


def dump(document: Any, *, sort_keys: bool = False) -> bytes:
    """Write compact JSON: the same value in the same order gives the same bytes."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=sort_keys).encode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, value in pairs:
        if name in table:
            raise ManifestError(f"the key {name[:80]!r} is given twice")
        table[name] = value
    return table


def _short(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ManifestError(f"a number has {len(text)} digits")
    return int(text)


def _refuse_constant(text: str) -> NoReturn:
    raise ManifestError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ManifestError(f"the number {text[:40]} is too large")
    return number
