"""Times of pushes in the formats of the vendors' interfaces."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_YEAR_10000 = 253_402_300_800


def parse_time(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 time or an e-mail date (Quay's); 0 if it is neither."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (OverflowError, ValueError):
            return 0.0
    return _seconds(moment)


def parse_seconds(value: object) -> float:
    """Seconds since 1970 of a number (Quay's); 0 if it is none, or beyond the year 9999."""
    return float(value) if isinstance(value, int) and 0 < value < _YEAR_10000 else 0.0


def parse_milliseconds(text: str) -> float:
    """Seconds since 1970 of milliseconds as text (Google's); 0 if it is not a number."""
    return int(text) / 1000 if text.isascii() and text.isdigit() and len(text) < 16 else 0.0  # noqa: PLR2004 - far away


def _seconds(moment: datetime) -> float:
    try:
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (OverflowError, ValueError):
        return 0.0
