"""What a task costs: requests, bytes, time."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pipeline.dataclass import dataclass

RequestTopic = Literal["", "tags", "manifest", "blob", "upload", "referrers"]
"""The object of a request; empty: a token, or a request to a host that a registry redirected to."""


class RequestRecord(NamedTuple):
    """One request, for metrics."""

    registry: str
    method: str
    status: int
    """0: no response."""
    seconds: float
    """Until the response began; -1: a plan only predicts the request."""
    pulls_left: int
    """Remaining pulls by the registry's rate limit headers; -1: not stated."""
    what: RequestTopic = ""
    pulls_limit: int = -1
    """Pulls allowed within `pulls_window` seconds; -1: not stated."""
    pulls_window: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one task cost."""

    requests: tuple[tuple[str, int], ...] = ()
    """Requests by registry; token requests count for the registry that they were for."""
    read: int = 0
    """Bytes of bodies received."""
    written: int = 0
    """Bytes of bodies sent."""
    seconds: float = 0.0
    waited: tuple[tuple[str, float], ...] = ()
    """Total seconds until the heads of responses, by registry."""
    retries: tuple[tuple[str, str], ...] = ()
    """Registry and status (or our own error code) of each attempt that was repeated."""
    pulls_left: tuple[tuple[str, int], ...] = ()
    """By registry where some are left to others: the pulls that it allows, as it said last."""
    asked: tuple[RequestRecord, ...] = ()
    """Each request, if Settings.timed asks for it."""
    planned: int = 0
    """Requests that a plan only predicts; the bytes of their bodies are predicted too."""


FREE = Cost()
