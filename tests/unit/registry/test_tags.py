from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.engine.queues import MAX_MESSAGE, frame
from pipeline.errors import RegistryError, ThrottledError
from pipeline.model.messages import Page
from pipeline.registry.client import TagPage
from pipeline.settings import MIB
from tests.registry.content import image
from tests.registry.faults import Fault, Reply
from tests.unit.registry.asking import client, repository

if TYPE_CHECKING:
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

IMAGE = image(b"layer")


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
    def test_pages(self, scripted: Scripted, link: str) -> None:
        """All tags come, in pages, whatever form the link has, and without links too."""
        registry = scripted(link=link)
        registry.add("team/app", IMAGE, *"abcdefg")

        assert list("abcdefg") == all_tags(registry, count=3)

    def test_guessed(self, scripted: Scripted) -> None:
        """A page that is exactly full and has no link may have a next one, and says that this is a guess."""
        registry = scripted(link="none")
        registry.add("team/app", IMAGE, "a", "b")

        page = client(registry).tags(repository(registry), page="", count=2)
        assert page == TagPage(tags=("a", "b"), next="last=b&n=2", guessed=True)

    def test_ignored_count(self, scripted: Scripted) -> None:
        """A registry that sends all tags at once is asked once."""
        registry = scripted(honour_n=False, page=None)
        registry.add("team/app", IMAGE, *"abcdefg")

        assert list("abcdefg") == all_tags(registry, count=3)
        assert len(registry.requests()) == 1

    def test_ignored_last(self, scripted: Scripted) -> None:
        """A registry that ignores `last` and happens to send a full page does not hold us."""
        registry = scripted(honour_n=False, page=None)
        registry.add("team/app", IMAGE, "a", "b")

        assert all_tags(registry, count=2) == ["a", "b", "a", "b"]

    @pytest.mark.parametrize("tags", ["null", "missing"])
    def test_nothing(self, scripted: Scripted, tags: str) -> None:
        """A list that is null or missing is an empty one."""
        registry = scripted()
        body = {"null": '{"name":"team/app","tags":null}', "missing": '{"name":"team/app"}'}[tags]
        registry.fault(Fault(action=Reply(status=200, body=body)))

        assert client(registry).tags(repository(registry), page="", count=10) == TagPage(tags=())

    def test_count_refused(self, scripted: Scripted) -> None:
        """A registry that does not like the count is asked without one."""
        registry = scripted()
        registry.add("team/app", IMAGE, "a")
        body = '{"errors":[{"code":"PAGINATION_NUMBER_INVALID"}]}'
        registry.fault(Fault(action=Reply(status=400, body=body), path="n="))

        assert client(registry).tags(repository(registry), page="", count=10).tags == ("a",)
        assert [entry.query for entry in registry.requests()] == ["n=10", ""]

    def test_too_many(self, scripted: Scripted) -> None:
        """A page of ever so many short tags is refused before it takes twenty times its size in memory."""
        registry = scripted()
        registry.fault(Fault(action=Reply(status=200, body='{"tags":["aa"%s]}' % (',"aa"' * 600_000))))
        with pytest.raises(RegistryError, match="more than 500,000 tags") as caught:
            client(registry).tags(repository(registry), page="", count=10)

        assert (caught.value.fault.code, caught.value.fault.retryable) == ("TOO_LARGE", False)

    @pytest.mark.parametrize("tag", ["ab", "v1.2.3", "\u00e9" * 60, "x" * 300])
    def test_largest(self, scripted: Scripted, tag: str) -> None:
        """The largest page that is taken goes through a worker's pipe."""
        registry = scripted()
        each = f',"{tag}"'
        count = min(499_999, (7 * MIB - 100) // len(each.encode()))
        registry.fault(Fault(action=Reply(status=200, body=f'{{"tags":["first"{each * count}]}}')))
        page = client(registry).tags(repository(registry), page="", count=10)

        assert len(page.tags) == count + 1
        assert len(frame(Page(key="page", tags=page.tags))) <= MAX_MESSAGE

    def test_throttled_by_400(self, scripted: Scripted) -> None:
        """A 400 that asks for a pause (ECR) is not taken for one about the count: nothing more is asked."""
        registry = scripted()
        body = '{"errors":[{"code":"","message":"ThrottlingException: Rate exceeded"}]}'
        registry.fault(Fault(action=Reply(status=400, body=body), times=None))
        with pytest.raises(ThrottledError):
            client(registry).tags(repository(registry), page="", count=10)

        assert len(registry.requests()) == 1

    def test_empty_page_asked_for(self, scripted: Scripted) -> None:
        """A link that asks for pages of nothing (GHCR) is followed with our count."""
        registry = scripted()
        link = {"Link": '</v2/team/app/tags/list?last=a&n=0>; rel="next"'}
        registry.fault(Fault(action=Reply(status=200, headers=link, body='{"tags":["a", 1]}')))

        page = client(registry).tags(repository(registry), page="", count=50)
        assert page == TagPage(tags=("a",), next="last=a&n=50")

    def test_missing(self, scripted: Scripted) -> None:
        """A repository that is not there is an error with that status."""
        with pytest.raises(RegistryError, match="NAME_UNKNOWN") as caught:
            client(registry := scripted()).tags(repository(registry), page="", count=10)

        assert caught.value.fault.status == 404

    def test_web_page(self, scripted: Scripted) -> None:
        """A login page is not taken for a list."""
        registry = scripted()
        page = Reply(status=200, headers={"Content-Type": "text/html"}, body="<html>Sign in</html>")
        registry.fault(Fault(action=page))
        with pytest.raises(RegistryError) as caught:
            client(registry).tags(repository(registry), page="", count=10)

        assert caught.value.fault.code == "NOT_A_REGISTRY"
