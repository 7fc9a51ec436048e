"""What a copy leaves out of an index, and what it writes in the index's place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pipeline.model.platform import Filter

if TYPE_CHECKING:
    from pipeline.model.manifest import Descriptor

IndexForm = Literal["trim", "single", "sparse"]
"""A new index of what is kept; the one image that is kept, without an index; the original index, of which
the destination lacks some children."""
Attestations = Literal["keep", "drop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """What is kept of an image's tree of manifests."""

    platforms: Filter = field(default_factory=Filter)
    attestations: Attestations = "keep"
    index: IndexForm = "trim"

    def __str__(self) -> str:
        """The filter's text, and what is not the default; empty: all is kept.

        Canonical: it is a key in the records.
        """
        attestations = f"attestations={self.attestations}" if self.attestations != "keep" else ""
        index = f"index={self.index}" if self.index != "trim" else ""
        return " ".join(filter(None, (str(self.platforms), attestations, index)))

    @property
    def active(self) -> bool:
        """Whether anything may be left out, or written otherwise."""
        return self.platforms.active or self.attestations == "drop" or self.index == "single"

    def drops(self, entry: Descriptor) -> bool:
        """Whether an entry is left out for being an attestation."""
        return self.attestations == "drop" and entry.is_attestation
