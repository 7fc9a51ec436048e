"""Pruning: what a copy leaves out of an index, and what it writes instead."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Literal

from pipeline.dataclass import dataclass
from pipeline.model.platform import Filter

if TYPE_CHECKING:
    from pipeline.model.manifest import Descriptor

IndexForm = Literal["trim", "single", "sparse"]
"""trim: a new index of what is kept; single: the one image that is kept, without an index; sparse: the
original index, though the destination lacks some of its children."""
Attestations = Literal["keep", "drop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """Which manifests of an image's tree are kept."""

    platforms: Filter = field(default_factory=Filter)
    attestations: Attestations = "keep"
    index: IndexForm = "trim"

    def __str__(self) -> str:
        """The filter's text, and options that are not the default; empty: everything is kept.

        Canonical: it is a key in the records.
        """
        attestations = f"attestations={self.attestations}" if self.attestations != "keep" else ""
        index = f"index={self.index}" if self.index != "trim" else ""
        return " ".join(filter(None, (str(self.platforms), attestations, index)))

    @property
    def active(self) -> bool:
        """Whether anything may be left out or changed."""
        return self.platforms.active or self.attestations == "drop" or self.index == "single"

    def drops(self, entry: Descriptor) -> bool:
        """Whether an entry is left out because it is an attestation."""
        return self.attestations == "drop" and entry.is_attestation
