"""Sizes, durations, counts and suggestions for people: one format each in log, display and report."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


_AGE = re.compile(r"([0-9]{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def parse_age(text: str) -> float | None:
    """Seconds of `90s`, `15m`, `72h`, `3d`; None: it is another text."""
    found = _AGE.fullmatch(text)
    return float(int(found[1]) * _SECONDS[found[2]]) if found else None


def parse_moment(text: str, now: float) -> float | None:
    """Seconds since 1970 of a date (its beginning, in UTC), or of an age, `90d`; None: it is another text."""
    age = parse_age(text)
    if age is not None:
        return now - age
    try:
        date = datetime.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        return None
    return date.replace(tzinfo=UTC).timestamp() if date else None


def format_size(count: float) -> str:
    """Bytes with four digits and a decimal unit, `45.38MB`, as docker and the original tool print them."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000:  # noqa: PLR2004 - the step from unit to unit
            return f"{count:.4g}{unit}"
        count /= 1000
    return f"{count:.4g}PB"


def format_duration(seconds: float) -> str:
    """Seconds as Go prints durations, `1h0m2s`, `1m2.3s`, `350ms`: three digits or so."""
    thousandths = round(seconds * 1000)
    if thousandths < 1000:  # noqa: PLR2004 - one second
        return f"{thousandths}ms" if thousandths else "0s"
    minutes, tenths = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths / 10:g}s"
    if hours:
        return f"{hours}h{minutes}m{rest}"
    return f"{minutes}m{rest}" if minutes else rest


def format_count(count: int, noun: str, nouns: str = "") -> str:
    """`1 blob`, `12,944 blobs`; `nouns`: a plural that does not just end in s."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def meant(word: str, known: Iterable[str]) -> str:
    """A suggestion as the end of a sentence; empty: none."""
    import difflib  # noqa: PLC0415 - only for a mistake

    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""
