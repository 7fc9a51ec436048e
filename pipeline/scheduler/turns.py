"""Turns: needs that write one tag do so one after the other, so that none undoes another's work."""

from __future__ import annotations


class Turns:
    """Knows which need adds entries to a tag; other writers of the tag wait."""

    def __init__(self) -> None:
        """Begin without writers."""
        self._waiting: dict[str, list[str]] = {}
        """By destination: keys of needs; the first one has its turn."""
        self._taken: set[int] = set()
        """Hashes of the destinations whose tags got entries in this run."""

    def enter(self, destination: str, key: str) -> None:
        """A need will add entries to a tag."""
        self._taken.add(hash(destination))
        self._waiting.setdefault(destination, []).append(key)

    def were_taken(self, destination: str) -> bool:
        """Whether entries were, or will be, added to the tag: another writer must keep them."""
        return hash(destination) in self._taken

    def may_write(self, destination: str, key: str) -> bool:
        """Whether nobody else has the turn."""
        return self._waiting.get(destination, [key])[0] == key

    def first(self, destination: str) -> str:
        """The need that has the turn; empty: none."""
        return next(iter(self._waiting.get(destination, ())), "")

    def leave(self, destination: str, key: str) -> tuple[str, ...]:
        """A need is done with a tag; returns the needs that may write it now."""
        waiting = self._waiting.get(destination)
        if waiting is None:
            return ()
        if key in waiting:
            waiting.remove(key)
        if waiting:
            return (waiting[0],)
        del self._waiting[destination]
        return (destination,)
