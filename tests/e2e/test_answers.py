"""Misleading answers: none of them makes a run succeed with a missing image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.registry.content import image, layer
from tests.registry.faults import Fault, Reply
from tests.registry.store import Blob

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

LAYER = layer("one", size=4_000)
IMAGE = image(LAYER)
NO_LISTS = [
    (200, '{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'),
    (200, "{}"),
    (200, '{"name":"team/app","tags":{"v1":{}}}'),
    (202, '{"tags":["v1"]}'),
    (206, '{"tags":["v1"]}'),
]


@pytest.fixture
def pair(command: Command, scripted: Scripted) -> tuple[Registry, Registry]:
    """A source with an image, and an empty destination."""
    source, mirror = scripted(), scripted()
    source.add("team/app", IMAGE, "v1")
    command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)
    return source, mirror


@pytest.mark.parametrize(("status", "body"), NO_LISTS)
def test_invalid_tag_list_fails_its_rule(
    command: Command, pair: tuple[Registry, Registry], status: int, body: str
) -> None:
    """A response that is not a tag list fails its rule."""
    pair[0].fault(Fault(action=Reply(status=status, body=body), path="/tags/list", times=None))

    result = command.run("--retries", "0")

    assert (result.code, result.finish["rules_failed"]) == (1, 1), result.text
    assert f": {status} " in result.events("rule.failed")[0]["msg"]


def test_tag_list_of_30_mib_is_read(command: Command, pair: tuple[Registry, Registry]) -> None:
    """A tag list in one piece of 30 MiB is read, and the rule's tags are selected from it."""
    source, mirror = pair
    names = ",".join(f'"feature-{number:07}-{"x" * 60}"' for number in range(410_000))
    body = f'{{"name":"team/app","tags":[{names},"v1"]}}'
    source.fault(Fault(action=Reply(status=200, body=body), path="/tags/list"))
    command.rules({f"{source.address}/team/app:/^v/": f"{mirror.address}/copy/app"})

    result = command.run("--retries", "0")

    assert len(body) > 30 << 20
    assert (result.code, result.finish["copied"]) == (0, 1), result.text


def test_answers_labelled_text_html_are_accepted(command: Command, scripted: Scripted) -> None:
    """A registry that labels all its answers text/html, as frameworks do by default, is supported."""
    source, mirror = scripted(content_type="text/html"), scripted(content_type="text/html")
    source.add("team/app", IMAGE, "v1")
    headers = {"Content-Type": "text/html; charset=utf-8"}
    source.fault(Fault(action=Reply(status=200, headers=headers, body='{"tags":["v1"]}'), path="/tags/list"))
    command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)

    result = command.run("--retries", "0")

    assert (result.code, result.finish["copied"]) == (0, 1), result.text
    assert mirror.tags("copy/app") == source.tags("team/app")


@pytest.mark.parametrize("name", [":v1", f"@{IMAGE.digest}"])
def test_cache_answers_head_with_404_until_get(
    command: Command, pair: tuple[Registry, Registry], name: str
) -> None:
    """If a cache answers HEAD with 404 until it has fetched an image, a GET finds the image."""
    source, mirror = pair
    source.fault(Fault(action=Reply(status=404), method="HEAD", path="/manifests/", times=None))
    command.rules({f"{source.address}/team/app{name}": f"{mirror.address}/copy/app"})

    result = command.run("--retries", "0")

    assert (result.code, result.finish["copied"]) == (0, 1), result.text


def test_wrong_content_under_a_digest_is_not_copied(
    command: Command, pair: tuple[Registry, Registry]
) -> None:
    """A source that returns other content under a digest does not get it copied under a tag."""
    source, mirror = pair
    other = image(layer("other"))
    source.add("team/app", other)
    repository = source.store.create("team/app")
    repository.manifests[IMAGE.digest] = repository.manifests[other.digest]
    answer = Reply(status=200, headers={"Docker-Content-Digest": other.digest})
    source.fault(Fault(action=answer, method="HEAD", path=IMAGE.digest, times=None))
    command.rules({f"{source.address}/team/app@{IMAGE.digest}": f"{mirror.address}/copy/app:v1"})

    result = command.run("--retries", "0")

    assert (result.code, mirror.tags("copy/app")) == (1, {}), result.text


@pytest.mark.parametrize("redirect", ["no", "all"])
def test_truncated_blob_is_sent_again(command: Command, scripted: Scripted, redirect: str) -> None:
    """A truncated blob at the destination is sent again; `verify` finds it before."""
    source, mirror = scripted(), scripted(redirect=redirect)
    source.add("team/app", IMAGE, "v1")
    mirror.add("copy/app", IMAGE)
    digest = next(name for name, blob in mirror.store.create("copy/app").blobs.items() if blob.size == 4_000)
    mirror.store.create("copy/app").blobs[digest] = Blob(LAYER[:10], 10)
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)

    result = command.run("--retries", "0")

    assert (result.code, mirror.blob("copy/app", digest)) == (0, LAYER), result.text
    mirror.store.create("copy/app").blobs[digest] = Blob(LAYER[:10], 10)
    seen = command.run("verify")
    assert (seen.code, "it has 10 bytes" in seen.text + seen.output) == (1, True), seen.text


def test_verify_finds_blob_lost_behind_redirect(command: Command, scripted: Scripted) -> None:
    """`verify` follows a redirect to storage, and finds that the blob is lost there."""
    source, mirror = scripted(), scripted(redirect="all")
    source.add("team/app", IMAGE, "v1")
    mirror.add("copy/app", IMAGE, "v1")
    mirror.fault(Fault(action=Reply(status=404), path="/storage/", times=None))
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)

    result = command.run("verify")

    assert (result.code, "it is not there" in result.text + result.output) == (1, True), result.text
