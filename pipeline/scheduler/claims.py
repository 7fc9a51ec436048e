"""Claims: the first image that wants a destination writes it; others with other content follow that one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.model.facts import Claim
from pipeline.scheduler.image import image_key

if TYPE_CHECKING:
    from pipeline.model.reference import Reference
    from pipeline.model.selection import Rule
    from pipeline.scheduler.shared_state import SharedState


class Claims:
    """The claims of one run, which are kept in the records."""

    def __init__(self, state: SharedState) -> None:
        """See the module."""
        self._state = state

    def take(self, source: Reference, destination: Reference, rule: Rule) -> bool:
        """Claim a destination for a source; False: this run has claimed it already."""
        claim = self._state.facts.claim(str(destination))
        if claim is not None and claim.run == self._state.run:
            return False
        self._state.facts.write(
            Claim(
                destination=str(destination),
                run=self._state.run,
                rule=rule.number,
                line=rule.line,
                source=str(source),
            )
        )
        return True

    def rival(self, source: str, destination: str, rule: int) -> str:
        """The key of the image that has claimed the destination for other content; empty: none has.

        The content is other if the source is another one, or the same with another filter.
        """
        claim, options = self._state.facts.claim(destination), self._state.options
        if claim is None:
            return ""
        if claim.source == source and options[claim.rule].pruning == options[rule].pruning:
            return ""
        return image_key(claim.source, claim.destination, options[claim.rule])
