"""The sentences made from facts: users grep logs for some of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.errors import Fault
from pipeline.log import event_of, sentence

_PAIR = {"source": "quay.io/a:v1", "destination": "harbor.corp/a:v1"}
_BUSY = Fault(operation="look", words="slow down", registry="quay.io", status=429, retryable=True)
_RULE = {"rule": "quay.io/a", "line": 3}
_PAUSE = {"registry": "quay.io", "status": 429, "delay": 70.0, "open": 4}
_LOST = {"fault": _BUSY, "advice": "wait", "place": "line 3", "attempts": 3, "again": False}
_FACTS = {"words": "slow down", "hint": "", "troubled": False, "left": 5.0}

LINES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    (
        "image.done",
        _PAIR,
        {"processed": 1, "known": 2},
        (
            "Finish synchronizing manifest from quay.io/a:v1 to harbor.corp/a:v1."
            " Now 1/2 tasks have been processed."
        ),
    ),
    (
        "image.unchanged",
        {**_PAIR, "how": "{odd}"},
        {"processed": 1, "known": 2},
        (
            "Skip synchronizing manifest from quay.io/a:v1 to harbor.corp/a:v1: up to date ({odd})."
            " Now 1/2 tasks have been processed."
        ),
    ),
    (
        "image.skipped",
        {**_PAIR, "reason": "no platform is linux"},
        {"processed": 1, "known": 2},
        (
            "Skip synchronizing manifest from quay.io/a:v1 to harbor.corp/a:v1: no platform is linux."
            " Now 1/2 tasks have been processed."
        ),
    ),
    (
        "image.failed",
        {**_PAIR, "attempt": 3},
        {"aim": "copy", **_LOST, "processed": 1, "known": 2},
        (
            "Failed to executed synchronizing manifest from quay.io/a:v1 to harbor.corp/a:v1: cannot look at"
            " quay.io: 429: slow down; what to do: wait; line 3, attempt 3 of 3 failed."
            " Now 1/2 tasks have been processed."
        ),
    ),
    (
        "image.retry",
        {**_PAIR, "attempt": 1, "again": True, "waits": "at the end of the run"},
        {**_LOST, "advice": "", "again": True},
        (
            "quay.io/a:v1 to harbor.corp/a:v1: cannot look at quay.io: 429: slow down;"
            " line 3, attempt 1 of 3 failed, retrying at the end of the run"
        ),
    ),
    (
        "rule.failed",
        {**_RULE, "attempt": 3, "again": False},
        {**_LOST, "fault": replace(_BUSY, retryable=False)},
        (
            "rule quay.io/a: cannot look at quay.io: 429: slow down; what to do: wait; line 3,"
            " attempt 3 failed, not retried"
        ),
    ),
    ("rule.expanded", {**_RULE, "tags": 9, "selected": 2}, {}, "rule quay.io/a: 2 of 9 tags"),
    (
        "rule.expanded",
        {**_RULE, "tags": 9, "selected": 0},
        {},
        "rule quay.io/a: 0 of 9 tags: nothing to copy",
    ),
    (
        "registry.cooldown",
        _PAUSE,
        _FACTS,
        (
            "quay.io limits the rate (429); next request in 70s; 4 images are open, others continue;"
            " giving up in 5s unless it accepts a request (--patience)"
        ),
    ),
    (
        "registry.cooldown",
        {**_PAUSE, "status": None},
        {**_FACTS, "words": "refused", "hint": "check the port"},
        (
            "quay.io cannot be reached (refused; check the port); next request in 70s; 4 images are open,"
            " others continue; giving up in 5s unless it accepts a request (--patience)"
        ),
    ),
    (
        "registry.cooldown",
        {**_PAUSE, "status": 500},
        {**_FACTS, "troubled": True},
        (
            "quay.io returns only server errors (500); next request in 70s; 4 images are open,"
            " others continue; giving up in 5s unless it accepts a request (--patience)"
        ),
    ),
    (
        "registry.settled",
        {"registry": "quay.io", "kind": "body", "limit": 8, "tried": 16},
        {"gain": 1.02},
        "quay.io: 8 large blobs at a time; 16 were 1.0 times as fast",
    ),
    (
        "registry.settled",
        {"registry": "quay.io", "kind": "request", "limit": 8, "tried": 8},
        {"gain": 1.0},
        "quay.io: 8 short requests at a time; the maximum",
    ),
]


@pytest.mark.parametrize(("name", "fields", "facts", "expected"), LINES, ids=[line[0] for line in LINES])
def test_each_event_is_one_sentence(
    name: str, fields: dict[str, Any], facts: dict[str, Any], expected: str
) -> None:
    """Each event is one sentence about what happened, whatever its words contain."""
    assert expected == sentence(event_of(name, fields, facts=facts))


def test_event_has_the_catalogues_first_level() -> None:
    """An event without its own level has the first one of the catalogue."""
    assert [event_of(name, {}).level for name in ("image.failed", "rule.expanded")] == ["error", "info"]
