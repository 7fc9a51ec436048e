"""A listing of repositories: which names count, and when the listing is not trusted."""

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
    """A new listing."""
    return RepositoryListing(parse_repository_pattern(pattern))


def test_only_matching_names_are_listed() -> None:
    """Invalid names, duplicates and names that do not match are left out and counted."""
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
def test_incomplete_listing_is_not_trusted(pages: list[RepositoryPage], words: str) -> None:
    """A listing that may be incomplete says why."""
    found = listing()
    for page in pages:
        found.take(page)
    found.end()

    assert words in found.trouble


def test_each_page_is_requested_once() -> None:
    """Each page is requested once; a page may lead to several others."""
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
def test_vendor_registries_are_recognised(registry: str, kind: str | None) -> None:
    """A vendor's registry is recognised by its name; any other needs a setting or a probe."""
    assert known_kind(registry) == kind


def test_login_goes_only_to_known_hosts() -> None:
    """A login goes only to its own registry or to a known pair's API host, wherever `catalog` points."""
    elsewhere = CatalogueSetting(kind="gitlab", host="gitlab.example.com")

    assert api_host("docker.io", None) == "hub.docker.com"
    assert api_host("r.io", None) == "r.io"
    assert api_host("r.io", elsewhere) == "gitlab.example.com"
    pairs = [("docker.io", "hub.docker.com"), ("ghcr.io", "api.github.com"), ("r.io", "r.io")]
    assert all(is_pair(*pair) for pair in pairs)
    strays = [("r.io", "gitlab.example.com"), ("r.io", "api.github.com"), ("docker.io", "api.github.com")]
    assert not any(is_pair(*pair) for pair in strays)
