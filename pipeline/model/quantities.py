"""Durations, rates and bandwidths as users write them in flags and files."""

from __future__ import annotations

import re

_NUMBER = r"([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})"
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([smh])?")
_RATE = re.compile(rf"{_NUMBER}(?:/([smh]))?")
_BANDWIDTH = re.compile(rf"{_NUMBER} ?([kmgt])(i?)b?(?:/s)?")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 10_000 * 3600.0
"""Seconds, more than a year: the kernel's limit of timeouts is not far above."""


def parse_duration(text: str) -> float:
    """`90`, `90s`, `15m`, `1h`, as seconds.

    Raises:
        ValueError: it is something else, or more than 10,000 hours.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a time: write 90s, 15m or 1h")
    seconds = float(found[1]) * _SECONDS[found[2] or "s"]
    if seconds > _LONGEST:
        raise ValueError(f"{text[:40]!r} is too long: at most {_LONGEST / 3600:.0f}h")
    return seconds


def parse_rate(text: str) -> float:
    """`50/s`, `100/m`, `1000/h`, or a number, as requests a second.

    Raises:
        ValueError: it is something else, or 0.
    """
    found = _RATE.fullmatch(text.strip())
    rate = float(found[1]) / _SECONDS[found[2] or "s"] if found else 0.0
    if not rate:
        raise ValueError(f"{text[:40]!r} is not a rate above 0: write 50/s, 100/m or 1000/h")
    return rate


def parse_bandwidth(text: str) -> float:
    """`20MB/s`, `512KiB`, as bytes a second.

    Raises:
        ValueError: it is something else, has no unit, or is less than 1 KB.
    """
    found = _BANDWIDTH.fullmatch(text.strip().lower())
    rate = float(found[1]) * (1024 if found[3] else 1000) ** (" kmgt".index(found[2])) if found else 0.0
    if rate < 1000:  # noqa: PLR2004 - what no transfer could live on
        raise ValueError(f"{text[:40]!r} is not a bandwidth of 1KB/s or more: write 20MB/s or 512KiB/s")
    return rate
