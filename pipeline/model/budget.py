"""Messages about rates: the scheduler's grants to a worker, and the worker's use of them."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pipeline.dataclass import dataclass

Resource = Literal["requests", "read", "written"]
"""Requests to a registry's own hosts; bytes of blobs from it; bytes of blobs to it."""
Account = tuple[str, Resource]
"""A registry and a limited resource there. An empty registry stands for the whole run (`--bandwidth`)."""
RUN = ""


class Share(NamedTuple):
    """A worker's part of an account."""

    account: Account
    rate: float = 0.0
    """Bytes a second, until the next grant; 0: none."""
    requests: int = 0
    """Requests that may be sent now."""


class Use(NamedTuple):
    """A worker's use of its share since its last report."""

    account: Account
    used: float
    unused: float = 0.0
    """The part that it did not need."""
    waiting: int = 0
    """Threads that wait for more, or had to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """To a worker: its shares, a few times a second."""

    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """From a worker: its use of shares, a few times a second, and at once if it has none."""

    uses: tuple[Use, ...]
