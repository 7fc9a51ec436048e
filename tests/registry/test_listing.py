"""Tag list options: each makes the registry behave like a registry in use."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.registry.asking import IMAGE, accept, ask, code

if TYPE_CHECKING:
    from tests.real.wire import Answer
    from tests.registry.fixtures import Scripted

RELATIVE = '</v2/a/b/tags/list?last=v0000002&n=3>; rel="next"'


def tags_of(answer: Answer) -> Any:
    """The tags of a list."""
    return json.loads(answer.body).get("tags", "absent")


def test_pages_through_many_tags(scripted: Scripted) -> None:
    """A list of computed and pushed tags is paged in order, each tag once, until no Link follows."""
    registry = scripted()
    digest = registry.add("a/b", IMAGE, "v0000001x", "latest")
    registry.add_tags("a/b", 250, digest)
    path, found = "/v2/a/b/tags/list?n=100", []
    while path:
        answer = ask(registry.address, "GET", path)
        found += tags_of(answer)
        path = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")

    assert sorted(["latest", "v0000001x", *(f"v{number:07d}" for number in range(250))]) == found
    assert 3 == registry.count(method="GET", status=200)


def test_a_computed_tag_can_be_pulled(scripted: Scripted) -> None:
    """Every tag of add_tags leads to its manifest, and the next number does not exist."""
    registry = scripted()
    registry.add_tags("a/b", 200_000, registry.add("a/b", IMAGE))

    statuses = [
        ask(registry.address, "HEAD", f"/v2/a/b/manifests/v{number}", headers=accept()).status
        for number in ("0000000", "0199999", "0200000", "1")
    ]

    assert [200, 200, 404, 404] == statuses


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("relative", RELATIVE),
        ("absolute", '<http://{address}/v2/a/b/tags/list?last=v0000002&n=3>; rel="next"'),
        ("other-host", '<http://{elsewhere}/v2/a/b/tags/list?last=v0000002&n=3>; rel="next"'),
        ("bare", RELATIVE.replace("<", "").replace(">", "")),
        ("lost-prefix", '</v2/tags/list?last=v0000002&n=3>; rel="next"'),
        ("repeat", '</v2/a/b/tags/list?n=3>; rel="next"'),
        ("none", None),
    ],
)
def test_link_form_follows_option(scripted: Scripted, link: str, expected: str | None) -> None:
    """The Link of a first page has the form of the option."""
    registry = scripted(link=link)
    registry.add_tags("a/b", 10, registry.add("a/b", IMAGE))
    where = {"address": registry.address, "elsewhere": registry.elsewhere}

    answer = ask(registry.address, "GET", "/v2/a/b/tags/list?n=3")

    assert (expected and expected.format(**where)) == answer.headers.get("Link")
    assert ["v0000000", "v0000001", "v0000002"] == tags_of(answer)


def test_looping_links(scripted: Scripted) -> None:
    """With `loop` the last page leads to the first."""
    registry = scripted(link="loop")
    registry.add_tags("a/b", 4, registry.add("a/b", IMAGE))

    answer = ask(registry.address, "GET", "/v2/a/b/tags/list?n=3&last=v0000002")

    assert (["v0000003"], '</v2/a/b/tags/list?n=3>; rel="next"') == (tags_of(answer), answer.headers["Link"])


def test_endless_links(scripted: Scripted) -> None:
    """With `endless` every page is full of new tags and has a link to another one."""
    registry = scripted(link="endless")
    registry.add("a/b", IMAGE, "v1")

    pages = [
        tags_of(ask(registry.address, "GET", f"/v2/a/b/tags/list?n=2&last={last}"))
        for last in ("", "zzzz-000000001", "zzzz-000000003")
    ]

    assert [
        ["v1", "zzzz-000000001"],
        ["zzzz-000000002", "zzzz-000000003"],
        ["zzzz-000000004", "zzzz-000000005"],
    ] == pages


def test_n_may_be_ignored(scripted: Scripted) -> None:
    """Without honour_n every page has all tags and no Link."""
    registry = scripted(honour_n=False)
    registry.add_tags("a/b", 10, registry.add("a/b", IMAGE))

    answer = ask(registry.address, "GET", "/v2/a/b/tags/list?n=3&last=v0000005")

    assert (10, None) == (len(tags_of(answer)), answer.headers.get("Link"))


@pytest.mark.parametrize(("query", "expected"), [("", 2), ("?n=5", 2), ("?n=1", 1), ("?n=0", 0)])
def test_page_size_is_bounded(scripted: Scripted, query: str, expected: int) -> None:
    """`page` is the page size without n and the largest n; n=0 gives an empty page."""
    registry = scripted(page=2)
    registry.add_tags("a/b", 10, registry.add("a/b", IMAGE))

    assert expected == len(tags_of(ask(registry.address, "GET", f"/v2/a/b/tags/list{query}")))


def test_invalid_n_is_400(scripted: Scripted) -> None:
    """An n that is not a number is 400 PAGINATION_NUMBER_INVALID."""
    registry = scripted()
    registry.add("a/b", IMAGE, "v1")

    answer = ask(registry.address, "GET", "/v2/a/b/tags/list?n=-1")

    assert (400, "PAGINATION_NUMBER_INVALID") == (answer.status, code(answer))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [("sorted", ["v1", "v2"]), ("unsorted", ["v2", "v1"]), ("doubled", ["v1", "v2", "v1", "v2"])],
)
def test_tag_order_follows_option(scripted: Scripted, shape: str, expected: list[str]) -> None:
    """The tags of a list are ordered as the option says."""
    registry = scripted(tags=shape)
    registry.add("a/b", IMAGE, "v2", "v1")

    assert expected == tags_of(ask(registry.address, "GET", "/v2/a/b/tags/list"))


@pytest.mark.parametrize(("shape", "expected"), [("null", None), ("missing", "absent"), ("sorted", [])])
def test_empty_list_follows_option(scripted: Scripted, shape: str, expected: object) -> None:
    """A repository without tags may answer null, nothing, or an empty list."""
    registry = scripted(tags=shape)
    registry.add("a/b", IMAGE)

    assert expected == tags_of(ask(registry.address, "GET", "/v2/a/b/tags/list"))
