from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.engine.local.queues import frame
from pipeline.engine.packing import MAX_MESSAGE
from pipeline.errors import RegistryError, ThrottledError
from pipeline.model.messages import TagsListed
from pipeline.registry.auth import Auth as Tokens
from pipeline.registry.listing import MAX_ENTRIES, TagPage
from pipeline.settings import MAX_TAG_PAGE
from tests.registry.content import image
from tests.registry.faults import Fault, Reply
from tests.unit.registry.asking import USER, client, repository

if TYPE_CHECKING:
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

IMAGE = image(b"layer")
NO_LISTS = [
    (200, "{}"),
    (200, ""),
    (200, "null"),
    (200, "[]"),
    (200, '["a"]'),
    (200, '{"tags":["a"]'),
    (200, '{"name":"team/app"}'),
    (200, '{"Tags":["a"]}'),
    (200, '{"tags":"a"}'),
    (200, '{"tags":{"a":{}}}'),
    (200, '{"tags":false}'),
    (200, '{"tags":["a",1]}'),
    (200, '{"tags":[null]}'),
    (200, '{"tags":["a"],"errors":[{}]}'),
    (201, '{"tags":["a"]}'),
    (202, '{"tags":["a"]}'),
    (206, '{"tags":["a"]}'),
    (204, ""),
]
"""Status and body of answers that are not lists of tags."""


def all_tags(registry: Registry, *, count: int) -> list[str]:
    """Every tag, page after page."""
    asking, page, tags = client(registry), "", list[str]()
    while True:
        answer = asking.tags(repository(registry), page=page, count=count)
        tags += answer.tags
        page = answer.next
        if not page:
            return tags


class TestTags:
    @pytest.mark.parametrize("link", ["relative", "absolute", "http", "bare", "lost-prefix", "none"])
    def test_tags_of_all_pages_are_listed(self, scripted: Scripted, link: str) -> None:
        """All tags are listed over all pages, for every form of link and without links."""
        registry = scripted(link=link)
        registry.add("team/app", IMAGE, *"abcdefg")

        assert list("abcdefg") == all_tags(registry, count=3)

    def test_full_page_without_link_has_a_guessed_next(self, scripted: Scripted) -> None:
        """A full page without a link may have a next one, which is marked as a guess."""
        registry = scripted(link="none")
        registry.add("team/app", IMAGE, "a", "b")

        page = client(registry).tags(repository(registry), page="", count=2)
        assert page == TagPage(tags=("a", "b"), next="last=b&n=2", guessed=True)

    def test_ignored_count_gets_one_request(self, scripted: Scripted) -> None:
        """A registry that sends all tags at once gets one request."""
        registry = scripted(honour_n=False, page=None)
        registry.add("team/app", IMAGE, *"abcdefg")

        assert list("abcdefg") == all_tags(registry, count=3)
        assert len(registry.requests()) == 1

    def test_ignored_last_does_not_loop(self, scripted: Scripted) -> None:
        """A registry that ignores `last` and sends a full page does not cause a loop."""
        registry = scripted(honour_n=False, page=None)
        registry.add("team/app", IMAGE, "a", "b")

        assert all_tags(registry, count=2) == ["a", "b", "a", "b"]

    @pytest.mark.parametrize("tags", ["null", "[]"])
    def test_null_list_is_empty(self, scripted: Scripted, tags: str) -> None:
        """A list that is null or empty names no tags."""
        registry = scripted()
        registry.fault(Fault(action=Reply(status=200, body=f'{{"name":"team/app","tags":{tags}}}')))

        assert client(registry).tags(repository(registry), page="", count=10) == TagPage(tags=())

    @pytest.mark.parametrize(("status", "body"), NO_LISTS)
    def test_unparsable_list_is_an_error(self, scripted: Scripted, status: int, body: str) -> None:
        """An answer that is not a list of tags is an error, never an empty list."""
        registry = scripted()
        registry.fault(Fault(action=Reply(status=status, body=body), times=None))
        with pytest.raises(RegistryError, match="not a list of tags") as caught:
            client(registry).tags(repository(registry), page="", count=10)

        fault = caught.value.fault
        assert (fault.status, fault.code, fault.retryable) == (status, "NOT_A_REGISTRY", False)

    def test_error_with_status_200_is_reported(self, scripted: Scripted) -> None:
        """An error with status 200 is reported in the registry's words."""
        registry = scripted()
        body = '{"tags":[],"errors":[{"code":"DENIED","message":"no access to team/app"}]}'
        registry.fault(Fault(action=Reply(status=200, body=body)))
        with pytest.raises(RegistryError, match="no access to team/app") as caught:
            client(registry).tags(repository(registry), page="", count=10)

        assert caught.value.fault.code == "DENIED"

    def test_pause_with_status_200_is_respected(self, scripted: Scripted) -> None:
        """A registry that asks for a pause with status 200 gets it."""
        registry = scripted()
        registry.fault(Fault(action=Reply(status=200, body='{"errors":[{"code":"TOOMANYREQUESTS"}]}')))
        with pytest.raises(ThrottledError):
            client(registry).tags(repository(registry), page="", count=10)

    @pytest.mark.parametrize("auth", ["basic", "token"])
    def test_repeated_credentials_are_not_in_the_error(
        self, scripted: Scripted, monkeypatch: pytest.MonkeyPatch, auth: str
    ) -> None:
        """Credentials that a valid response repeats are not in the error."""
        monkeypatch.setattr(Tokens, "tokens", ("opaque-token",))
        registry = scripted(auth=auth, password="hunter22")
        body = '{"errors":[{"code":"DENIED","message":"not for opaque-token, nor hunter22"}]}'
        registry.fault(Fault(action=Reply(status=200, body=body), path="tags"))
        with pytest.raises(RegistryError) as caught:
            client(registry, replace(USER, password="hunter22")).tags(repository(registry), page="", count=10)

        assert caught.value.fault.words.endswith("not for [hidden], nor [hidden]")

    def test_list_with_html_content_type_is_accepted(self, scripted: Scripted) -> None:
        """A list with the Content-Type of a web page, a default of frameworks, is a list."""
        registry = scripted()
        headers = {"Content-Type": "text/html; charset=utf-8"}
        registry.fault(Fault(action=Reply(status=200, headers=headers, body='{"tags":["a"]}')))

        assert client(registry).tags(repository(registry), page="", count=10).tags == ("a",)

    @pytest.mark.parametrize("form", ["<{}>", "<{}>; rel='next'", "{}", "<{}>; rel=''", "<{}>; foo=bar"])
    def test_unusual_links_lead_to_the_next_page(self, scripted: Scripted, form: str) -> None:
        """A link without a relation, or with single quotes, leads to the next page."""
        registry = scripted()
        link = {"Link": form.format("/v2/team/app/tags/list?last=a&n=1")}
        registry.fault(Fault(action=Reply(status=200, headers=link, body='{"tags":["a"]}')))

        page = client(registry).tags(repository(registry), page="", count=50)
        assert page == TagPage(tags=("a",), next="last=a&n=1")

    def test_link_without_query_is_an_error(self, scripted: Scripted) -> None:
        """A next page that cannot be requested is an error: the list is incomplete."""
        registry = scripted()
        link = {"Link": '</v2/team/app/tags/list/2>; rel="next"'}
        registry.fault(Fault(action=Reply(status=200, headers=link, body='{"tags":["a"]}')))
        with pytest.raises(RegistryError) as caught:
            client(registry).tags(repository(registry), page="", count=50)

        assert caught.value.fault.code == "PAGINATION_INVALID"

    def test_refused_count_is_omitted(self, scripted: Scripted) -> None:
        """If a registry refuses the count, it is omitted."""
        registry = scripted()
        registry.add("team/app", IMAGE, "a")
        body = '{"errors":[{"code":"PAGINATION_NUMBER_INVALID"}]}'
        registry.fault(Fault(action=Reply(status=400, body=body), path="n="))

        assert client(registry).tags(repository(registry), page="", count=10).tags == ("a",)
        assert [entry.query for entry in registry.requests()] == ["n=10", ""]

    def test_too_many_tags_on_a_page_are_refused(self, scripted: Scripted) -> None:
        """A page with too many short tags is refused before it takes twenty times its size in memory."""
        registry = scripted()
        registry.fault(Fault(action=Reply(status=200, body='{"tags":["aa"%s]}' % (',"aa"' * 1_000_001))))
        with pytest.raises(RegistryError, match="more than 1,000,000 entries") as caught:
            client(registry).tags(repository(registry), page="", count=10)

        assert (caught.value.fault.code, caught.value.fault.retryable) == ("TOO_LARGE", False)

    @pytest.mark.parametrize("tag", ["ab", "v1.2.3", "\u00e9" * 60, "x" * 300])
    def test_largest_page_fits_through_the_pipe(self, scripted: Scripted, tag: str) -> None:
        """The largest accepted page fits through a worker's pipe."""
        registry = scripted()
        each = f',"{tag}"'
        count = min(MAX_ENTRIES, (MAX_TAG_PAGE - 100) // len(each.encode()))
        registry.fault(Fault(action=Reply(status=200, body=f'{{"tags":["first"{each * count}]}}')))
        page = client(registry).tags(repository(registry), page="", count=10)

        assert len(page.tags) == count + 1
        assert len(frame(TagsListed(key="page", tags=page.tags))) <= MAX_MESSAGE

    def test_rate_limit_with_status_400_is_not_a_refused_count(self, scripted: Scripted) -> None:
        """A 400 that means a rate limit (ECR) is not taken for a refusal of the count."""
        registry = scripted()
        body = '{"errors":[{"code":"","message":"ThrottlingException: Rate exceeded"}]}'
        registry.fault(Fault(action=Reply(status=400, body=body), times=None))
        with pytest.raises(ThrottledError):
            client(registry).tags(repository(registry), page="", count=10)

        assert len(registry.requests()) == 1

    def test_link_asking_for_empty_pages(self, scripted: Scripted) -> None:
        """A link that asks for empty pages (GHCR) is followed with our count."""
        registry = scripted()
        link = {"Link": '</v2/team/app/tags/list?last=a&n=0>; rel="next"'}
        registry.fault(Fault(action=Reply(status=200, headers=link, body='{"tags":["a"]}')))

        page = client(registry).tags(repository(registry), page="", count=50)
        assert page == TagPage(tags=("a",), next="last=a&n=50")

    def test_missing_repository_is_an_error(self, scripted: Scripted) -> None:
        """A missing repository is an error with that status."""
        with pytest.raises(RegistryError, match="NAME_UNKNOWN") as caught:
            client(registry := scripted()).tags(repository(registry), page="", count=10)

        assert caught.value.fault.status == 404

    def test_web_page_is_not_a_list(self, scripted: Scripted) -> None:
        """A login page is not a list."""
        registry = scripted()
        page = Reply(status=200, headers={"Content-Type": "text/html"}, body="<html>Sign in</html>")
        registry.fault(Fault(action=page))
        with pytest.raises(RegistryError) as caught:
            client(registry).tags(repository(registry), page="", count=10)

        assert caught.value.fault.code == "NOT_A_REGISTRY"
