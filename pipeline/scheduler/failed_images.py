"""Failed images: what a later pass takes from the records, page by page, so that memory stays small.

The images that claimed their destination come first, then those that follow another image: a follower waits
for the end of that one, so both must not change places.
"""

from __future__ import annotations

from collections import deque
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from pipeline.model.reference import parse_reference

if TYPE_CHECKING:
    from pipeline.model.reference import Reference
    from pipeline.scheduler.claims import Claims
    from pipeline.scheduler.shared_state import SharedState

    FailedGroup = tuple[Reference, list[tuple[Reference, int]]]
    """A source, and its destinations with the numbers of their rules."""


class FailedImages:
    """The images that failed in the pass before and take part in this one."""

    def __init__(self, state: SharedState, claims: Claims) -> None:
        """The first pass has none."""
        self._state = state
        self._claims = claims
        self._reading: Literal["nothing", "claimants", "followers"] = "nothing"
        """What the next page of the records is read for."""
        self._page = ""
        """Where it begins; empty: the first one."""
        self._have_followers = False
        """Whether a page had images that follow others."""
        self._groups: deque[FailedGroup] = deque()

    @property
    def exhausted(self) -> bool:
        """Whether there are no more in this pass."""
        return self._reading == "nothing" and not self._groups

    def begin(self) -> None:
        """Begin a pass."""
        self._reading, self._page, self._have_followers = "claimants", "", False

    def stop(self) -> None:
        """Give out no more of them."""
        self._reading = "nothing"
        self._groups.clear()

    def next(self) -> FailedGroup | None:
        """The next source with its destinations; None if there is none."""
        while not self._groups and self._reading != "nothing":
            self._read_page()
        return self._groups.popleft() if self._groups else None

    def _read_page(self) -> None:
        failed, self._page = self._state.facts.again(self._state.run, self._page)
        rows = [row for row in failed if self._state.takes_part(self._state.options[row.rule])]
        follow = [bool(self._claims.rival(row.source, row.destination, row.rule)) for row in rows]
        self._have_followers |= any(follow)
        wanted = self._reading == "followers"
        chosen = [row for row, follows in zip(rows, follow, strict=True) if follows == wanted]
        for source, group in groupby(chosen, key=lambda row: row.source):
            targets = [(parse_reference(row.destination), row.rule) for row in group]
            self._groups.append((parse_reference(source), targets))
        if self._page:
            return
        more = self._reading == "claimants" and self._have_followers
        self._reading = "followers" if more else "nothing"
