"""Tasks that read the lists of a registry: tags, and repositories."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, ClassVar

from pipeline.dataclass import dataclass
from pipeline.model.task import Ask, TaskFacts

if TYPE_CHECKING:
    from pipeline.errors import Side
    from pipeline.model.messages import Stage
    from pipeline.model.reference import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTags(TaskFacts):
    """GET one page of a tag list."""

    stage: ClassVar[Stage] = "expand"
    repository: Repository
    side: Side = "source"
    is_probe: bool = False
    """Of a destination: only to find out whether the repository exists."""
    page: str = ""
    """The page's query, from the registry's Link header; empty: the first page."""
    count: int
    """The page size to ask for."""
    key: str = field(init=False, repr=False, compare=False)

    def identity(self) -> str:
        """The page of the list."""
        there = "" if self.side == "source" else "!" if self.is_probe else "!list"
        return f"expand {self.repository}?{self.page}{there}"

    @property
    def asks(self) -> tuple[Ask, ...]:
        """The repository."""
        return (Ask(self.repository, self.side),)

    @property
    def enters(self) -> bool:
        """A destination is probed before the first write to it."""
        return self.is_probe


@dataclass(frozen=True, slots=True, kw_only=True)
class ListDigests(TaskFacts):
    """GET one page of tags with their digests, from the catalogue of a registry."""

    stage: ClassVar[Stage] = "expand"
    repository: Repository
    side: Side = "source"
    page: str = ""
    """Of the catalogue; empty: the first page."""
    is_optional: bool = True
    """Whether HEADs take its place if it fails; else a rule needs the dates."""
    key: str = field(init=False, repr=False, compare=False)

    def identity(self) -> str:
        """The page of the listing, and who needs it."""
        there = ("" if self.side == "source" else "!") + ("" if self.is_optional else "!dates")
        return f"digests {self.repository}?{self.page}{there}"

    @property
    def asks(self) -> tuple[Ask, ...]:
        """The repository."""
        return (Ask(self.repository, self.side),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRepositories(TaskFacts):
    """GET one page of the repositories of a namespace."""

    stage: ClassVar[Stage] = "expand"
    namespace: Repository
    """Its path is the namespace; empty: the whole registry."""
    page: str = ""
    """Of the catalogue; empty: the first page."""
    key: str = field(init=False, repr=False, compare=False)

    def identity(self) -> str:
        """The page of the listing."""
        return f"catalogue {self.namespace}?{self.page}"

    @property
    def asks(self) -> tuple[Ask, ...]:
        """The registry."""
        return (Ask(self.namespace, "source"),)
