"""Need: what lookups, fetches, blobs and manifests have in common: who needs them, and who pays.

Each subclass has a key, and a state from a short list if it can wait for more than its task; no state is
implied by a combination of fields. A page of tags is not a need: rules ask for it, and no image pays
(admission.py).
"""

from __future__ import annotations

from dataclasses import field

from pipeline.dataclass import dataclass


@dataclass(slots=True, kw_only=True)
class Need:
    """Something that images wait for, or manifests for them.

    The first one that needs it pays for its tasks. If that one leaves before the end, the next in order pays;
    all others pay nothing.
    """

    needed_by: dict[str, None] = field(default_factory=dict)
    """Keys of those that need it, in order; empty: only its running task keeps it."""

    @property
    def payer(self) -> str:
        """Key of who pays; empty: nobody needs it."""
        return next(iter(self.needed_by), "")

    def join(self, key: str) -> None:
        """Add one that needs it."""
        self.needed_by[key] = None

    def leave(self, key: str) -> None:
        """Remove one that does not need it any more."""
        self.needed_by.pop(key, None)
