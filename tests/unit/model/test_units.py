from __future__ import annotations

import pytest

from pipeline.model.units import format_count, format_duration, format_size


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (45_380_000, "45.38MB"),
        (48_213_771, "48.21MB"),
        (999_999, "1000kB"),
        (1.5e12, "1.5TB"),
        (2e18, "2000PB"),
    ],
)
def test_format_size(count: float, expected: str) -> None:
    """Sizes have four digits and decimal units."""
    assert format_size(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0s"),
        (0.0004, "0s"),
        (0.35, "350ms"),
        (0.9996, "1s"),
        (1, "1s"),
        (59.96, "1m0s"),
        (62.3, "1m2.3s"),
        (564, "9m24s"),
        (3599.99, "1h0m0s"),
        (3662.34, "1h1m2.3s"),
        (90_000, "25h0m0s"),
    ],
)
def test_format_duration(seconds: float, expected: str) -> None:
    """Durations are written as in Go."""
    assert format_duration(seconds) == expected


def test_format_count() -> None:
    """Counts have thousands separators, and their noun is singular for one."""
    assert [format_count(1, "blob"), format_count(12_944, "blob"), format_count(2, "try", "tries")] == [
        "1 blob",
        "12,944 blobs",
        "2 tries",
    ]
