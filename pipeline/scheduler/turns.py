"""Turns: needs that write one tag, one after the other, so that none undoes what another has put there."""

from __future__ import annotations


class Turns:
    """Who adds entries to a tag; everybody else who writes it waits."""

    def __init__(self) -> None:
        """Nobody writes."""
        self._waiting: dict[str, list[str]] = {}
        """By destination: keys of needs, the one whose turn it is first."""
        self._taken: set[int] = set()
        """Hashes of the destinations that anybody has added entries to in this run."""

    def enter(self, destination: str, key: str) -> None:
        """A need will add entries to a tag."""
        self._taken.add(hash(destination))
        self._waiting.setdefault(destination, []).append(key)

    def were_taken(self, destination: str) -> bool:
        """Whether entries were, or will be, added to the tag: who writes it has to keep them."""
        return hash(destination) in self._taken

    def may_write(self, destination: str, key: str) -> bool:
        """Whether nobody else goes first."""
        return self._waiting.get(destination, [key])[0] == key

    def leave(self, destination: str, key: str) -> tuple[str, ...]:
        """A need is done with a tag, or does not need it any more; returns who may write it now."""
        waiting = self._waiting.get(destination)
        if waiting is None:
            return ()
        if key in waiting:
            waiting.remove(key)
        if waiting:
            return (waiting[0],)
        del self._waiting[destination]
        return (destination,)
