"""A listing of repositories: what counts, and when it is not to be trusted."""

from __future__ import annotations

import pytest

from pipeline.model.catalogue import (
    CatalogueSetting,
    RepositoryListing,
    RepositoryPage,
    api_host,
    is_pair,
    known_kind,
)
from pipeline.model.repository_pattern import parse_repository_pattern


def listing(pattern: str = "r.io/team/**") -> RepositoryListing:
    """One that begins."""
    return RepositoryListing(parse_repository_pattern(pattern))


def test_takes_what_matches() -> None:
    """Names that fit no grammar are left out with a count, others and duplicates too."""
    found = listing()
    names = ("team/a", "team/a", "team/../x", "Team/B", "team/a:v1", "other/b", "team/a\nb", "")

    assert found.take(RepositoryPage(paths=names, total=7)) == ("team/a",)
    found.end()
    assert (found.invalid, found.others, found.trouble) == (5, 1, "")
    assert found.left_out() == ", 1 other not matched, 5 names left out: not a repository's"


@pytest.mark.parametrize(
    ("pages", "words"),
    [
        ([RepositoryPage(paths=("team/a",), total=2)], "counts 2"),
        ([RepositoryPage(paths=("team/a",), short="it is cut")], "it is cut"),
        ([RepositoryPage(paths=("team/a",), more=("",))], "loops"),
        ([RepositoryPage(paths=(), more=("2",)), RepositoryPage(paths=(), more=("2",))], "loops"),
    ],
)
def test_not_trusted(pages: list[RepositoryPage], words: str) -> None:
    """A listing that may be short says why, and a count that fits says nothing."""
    found = listing()
    for page in pages:
        found.take(page)
    found.end()

    assert words in found.trouble


def test_pages() -> None:
    """Each page is asked for once; several may follow one."""
    found = listing()
    assert list(found.pages) == [""]
    found.pages.clear()
    found.take(RepositoryPage(paths=(), more=("a", "b")))

    assert list(found.pages) == ["a", "b"]


@pytest.mark.parametrize(
    ("registry", "kind"),
    [
        ("docker.io", "hub"),
        ("ghcr.io", "ghcr"),
        ("quay.io", "quay"),
        ("eu.gcr.io", "gar"),
        ("europe-west1-docker.pkg.dev", "gar"),
        ("acme.azurecr.io", "acr"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "ecr"),
        ("registry.example.com", None),
        ("docker.io.example.com", None),
        ("notgcr.io", None),
    ],
)
def test_known_kinds(registry: str, kind: str | None) -> None:
    """A vendor's registry is known by its name; all others have to say, or to be asked."""
    assert known_kind(registry) == kind


def test_hosts() -> None:
    """A login goes to its own registry, or to one of two fixed pairs, wherever `catalog` points."""
    elsewhere = CatalogueSetting(kind="gitlab", host="gitlab.example.com")

    assert api_host("docker.io", None) == "hub.docker.com"
    assert api_host("r.io", None) == "r.io"
    assert api_host("r.io", elsewhere) == "gitlab.example.com"
    pairs = [("docker.io", "hub.docker.com"), ("ghcr.io", "api.github.com"), ("r.io", "r.io")]
    assert all(is_pair(*pair) for pair in pairs)
    strays = [("r.io", "gitlab.example.com"), ("r.io", "api.github.com"), ("docker.io", "api.github.com")]
    assert not any(is_pair(*pair) for pair in strays)
