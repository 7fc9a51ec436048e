"""What every need has in common: a key, a state, who needs it, who pays.

The needs are a page of tags (admission.py), a lookup, a fetch, a blob, and a manifest with its push. Each has
one state of a short list, which says what it waits for; nothing is implied by a combination of fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Need:
    """Something that images wait for, or manifests on their behalf.

    Who needs it first pays all that its tasks cost. Who leaves before the end hands the bill to the next in
    order; who comes later pays nothing while the first one stays. A page of tags is paid by no image.
    """

    needed_by: dict[str, None] = field(default_factory=dict)
    """Keys, in the order in which they came; empty: only its running task keeps it."""
    payer: str = ""
    """Key of who pays; empty: nobody needs it."""

    def join(self, key: str) -> None:
        """One more needs it."""
        self.needed_by[key] = None
        self.payer = self.payer or key

    def leave(self, key: str) -> None:
        """One does not need it any more."""
        self.needed_by.pop(key, None)
        if self.payer == key:
            self.payer = next(iter(self.needed_by), "")

    def validate(self) -> None:
        """Check who pays.

        Raises:
            AssertionError: nobody does, or one that does not need it.
        """
        assert self.payer == next(iter(self.needed_by), ""), f"{self.payer!r} pays for {self.needed_by}"
