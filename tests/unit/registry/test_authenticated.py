"""Requests with authentication: expired credentials, tokens that expire during an upload, warnings."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RegistryError
from pipeline.registry.clients import Clients
from pipeline.registry.meter import metering
from pipeline.registry.request import Request
from pipeline.registry.request_info import RequestInfo
from tests.registry.content import digest_of
from tests.registry.faults import Fault, Reply
from tests.unit.registry.asking import QUICK, USER, Sent, client, clients, reference, repository

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.model.credential import Credential
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

BLOB = b"content"
DIGEST = digest_of(BLOB)
OLD = replace(USER, password="of the last twelve hours")
EXPIRED = Reply(
    status=403,
    body=json.dumps({"errors": [{"code": "DENIED", "message": "Your authorization token has expired."}]}),
)
PAGE = Reply(
    status=200, headers={"Content-Type": "text/html"}, body="<html><title>Sign in to Wi-Fi</title></html>"
)


class Helper:
    """Credentials of a helper program: the old one until `forget` is called."""

    def __init__(self, *answers: Credential) -> None:
        """Give these in turn, the last one forever."""
        self.answers = list(answers)
        self.forgotten: list[Credential] = []

    def forget(self, credential: Credential) -> None:
        """Advance to the next credential, if that was the present one."""
        self.forgotten.append(credential)
        if credential == self.answers[0] and len(self.answers) > 1:
            del self.answers[0]

    def at(self, registry: Registry) -> Clients:
        """The clients of a process with these credentials."""
        return Clients(QUICK, lambda _: self.answers[0], self.forget)


class TestExpiredCredentials:
    def test_expired_ecr_login_is_renewed(self, scripted: Scripted) -> None:
        """If ECR reports an expired login, the helper runs again and the request is repeated."""
        registry = scripted(auth="basic")
        registry.add_blob("team/app", BLOB)
        # A HEAD has no body with the reason, so the request is repeated as a GET.
        registry.fault(Fault(action=EXPIRED, method="HEAD", skip=1))
        registry.fault(Fault(action=EXPIRED, method="GET"))
        helper = Helper(OLD, USER)

        assert len(BLOB) == helper.at(registry).at(registry.address).head_blob(repository(registry), DIGEST)
        assert [OLD] == helper.forgotten

    def test_helper_without_new_credential_runs_once(self, scripted: Scripted) -> None:
        """A helper without a new credential is not run repeatedly."""
        registry = scripted()
        registry.fault(Fault(action=EXPIRED, times=None))
        helper = Helper(USER)
        with pytest.raises(RegistryError, match="log in again") as caught:
            helper.at(registry).at(registry.address).get_manifest(reference(registry, "v1"), limit=100)

        assert not caught.value.fault.retryable
        assert [USER] == helper.forgotten
        assert len(registry.requests(path="manifests")) == 1

    def test_body_is_not_sent_twice(self, scripted: Scripted) -> None:
        """A body is not sent twice: its upload can be retried with the new credential."""
        registry = scripted()
        registry.fault(Fault(action=EXPIRED, method="PUT"))
        helper = Helper(OLD, USER)
        asking = helper.at(registry).at(registry.address, push=True)
        upload = asking.begin_upload(repository(registry), DIGEST)
        assert upload
        with pytest.raises(RegistryError) as caught:
            upload.put(Sent(BLOB))

        assert caught.value.fault.retryable
        assert len(registry.requests(method="PUT")) == 1


def test_last_put_with_expired_token_is_repeated(scripted: Scripted) -> None:
    """An empty last PUT that meets a 401 is repeated at the same Location with a new token."""
    registry = scripted(auth="token")
    asking = clients(registry, USER).at(registry.address, push=True)
    asking.head_blob(repository(registry), DIGEST)
    post = Request(
        info=RequestInfo(operation="upload", kind="begin", repository=repository(registry)),
        method="POST",
        url="/v2/team/app/blobs/uploads/",
    )
    location = asking._client.locate(post, asking._client.ask(post))
    registry.expire_tokens()
    empty = digest_of(b"")

    put = replace(post, method="PUT", url=f"{location}&digest={empty}")

    assert asking._client.ask(put).status_code == 201
    assert [401, 201] == [entry.status for entry in registry.requests(method="PUT")]
    assert len({entry.target for entry in registry.requests(method="PUT")}) == 1


@pytest.mark.parametrize("verb", ["head", "manifest", "blob", "blob head", "tags", "begin"])
def test_web_page_is_never_an_answer(scripted: Scripted, verb: str) -> None:
    """A login page with status 200 is never an answer; the error has its title."""
    registry = scripted()
    registry.fault(Fault(action=PAGE, times=None))
    asking, place = client(registry, push=True), repository(registry)
    verbs: dict[str, Callable[[], object]] = {
        "head": lambda: asking.head_manifest(reference(registry, "v1")),
        "manifest": lambda: asking.get_manifest(reference(registry, "v1"), limit=1000),
        "blob": lambda: asking.open_blob(place, DIGEST, size=7),
        "blob head": lambda: asking.head_blob(place, DIGEST),
        "tags": lambda: asking.tags(place, page="", count=10),
        "begin": lambda: asking.begin_upload(place, DIGEST),
    }
    with pytest.raises(RegistryError) as caught:
        verbs[verb]()

    fault = caught.value.fault
    assert (fault.status, fault.code, fault.retryable) == (200, "NOT_A_REGISTRY", False)
    assert fault.words == "Sign in to Wi-Fi"


@pytest.mark.parametrize("status", [200, 201])
def test_token_with_html_content_type_is_accepted(scripted: Scripted, status: int) -> None:
    """A token with the Content-Type of a web page, a default of frameworks, is a token."""
    registry = scripted(auth="token")
    registry.add_blob("team/app", BLOB)
    answer = Reply(
        status=status,
        headers={"Content-Type": "text/html; charset=utf-8"},
        body='{"access_token":"made-at-home"}',
    )
    registry.fault(Fault(action=answer, path="/token"))
    asking = client(registry, USER)
    with pytest.raises(RegistryError, match="401"):
        asking.head_blob(repository(registry), DIGEST)  # this registry accepts only its own tokens

    assert "Bearer made-at-home" in [each.headers.get("authorization") for each in registry.requests()]


@pytest.mark.parametrize(
    ("body", "said"),
    [('{"errors":[{"code":"DENIED","message":"no such user"}]}', "no such user"), ("a-plain-secret", "")],
)
def test_message_instead_of_token_is_reported(scripted: Scripted, body: str, said: str) -> None:
    """A token server's words instead of a token are reported, unless they may be a token."""
    registry = scripted(auth="token")
    registry.fault(Fault(action=Reply(status=200, body=body), path="/token"))
    with pytest.raises(RegistryError, match=f"has no token: {said}") as caught:
        client(registry, USER).head_blob(repository(registry), DIGEST)

    assert "a-plain-secret" not in str(caught.value)


@pytest.mark.parametrize("verb", ["begin", "upload", "manifest"])
def test_write_answer_with_html_content_type(scripted: Scripted, verb: str) -> None:
    """An answer to a write with the Content-Type of a web page is judged by status and headers."""
    registry = scripted()
    headers = {"Content-Type": "text/html", "Location": "/v2/team/app/blobs/uploads/here"}
    asking, place = client(registry, push=True), repository(registry)
    upload = asking.begin_upload(place, DIGEST)
    assert upload
    registry.fault(Fault(action=Reply(status=200, headers=headers), times=None))

    if verb == "begin":
        assert asking.begin_upload(place, DIGEST)
    elif verb == "upload":
        assert upload.put(Sent(BLOB)) is False
    else:
        stored = asking.put_manifest(
            reference(registry, "v1"), b"{}", media_type="m", digest=digest_of(b"{}")
        )
        assert stored.confirmed is False


def test_web_page_instead_of_token_is_reported(scripted: Scripted) -> None:
    """A login page instead of a token is reported as one."""
    registry = scripted(auth="token")
    registry.fault(Fault(action=PAGE, path="/token"))
    with pytest.raises(RegistryError, match="web page") as caught:
        client(registry, USER).head_blob(repository(registry), DIGEST)

    assert caught.value.fault.code == "NOT_A_REGISTRY"


def test_registry_warning_is_logged_once(scripted: Scripted) -> None:
    """A registry's warning is logged once per text, on one line, up to a limit."""
    registry = scripted()
    texts = ["moved\x1b[31m", "moved\x1b[31m", *(f"number {number}" for number in range(40))]
    for text in texts:
        reply = Reply(status=404, headers={"Warning": f'299 - "{text}"'})
        registry.fault(Fault(action=reply, method="HEAD"))
    asking = client(registry)
    with metering() as meter:
        for _ in texts:
            asking.head_blob(repository(registry), DIGEST)

    warnings = [event.message for event in meter.events if event.name == "registry.warning"]
    assert len(warnings) == 20
    assert f'{registry.address} warns: 299 - "moved [31m"' == warnings[0]
    assert "number 0" in warnings[1]


@pytest.mark.parametrize(
    ("credential", "said"),
    [
        (replace(USER, password="hunter22"), "no hunter22 here"),
        (replace(USER, password="hunter22"), "Authorization was Basic/dXNlcjpodW50ZXIyMg== of you"),
        (replace(USER, registry_token="opaque-token"), "unknown opaque-token"),
    ],
)
def test_repeated_secrets_are_not_in_the_error(scripted: Scripted, credential: Credential, said: str) -> None:
    """Secrets that a registry repeats are not in the error."""
    registry = scripted(auth="basic", password="hunter22")
    registry.fault(Fault(action=Reply(status=400, body=said), method="GET", times=None))
    with pytest.raises(RegistryError) as caught:
        client(registry, credential).get_manifest(reference(registry, "v1"), limit=100)

    assert "[hidden]" in caught.value.fault.words
    assert not [secret for secret in ("hunter22", "dXNlcjpo", "opaque") if secret in str(caught.value)]


@pytest.mark.parametrize("header", ["sha256:short", f"sha256:{'1' * 64}\x1b[2J", "md5:x", "x" * 60_000, ""])
def test_invalid_digest_header_is_ignored(scripted: Scripted, header: str) -> None:
    """An invalid digest header is ignored: the manifest is read."""
    registry = scripted()
    content = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    registry.add_manifest("team/app", content, "application/vnd.oci.image.index.v1+json", ["v1"])
    reply = Reply(status=200, headers={"Docker-Content-Digest": header})
    registry.fault(Fault(action=reply, method="HEAD"))

    found = client(registry).head_manifest(reference(registry, "v1"))

    assert found
    assert found.digest == digest_of(content)


def test_refusal_without_challenge_does_not_blame_login(scripted: Scripted) -> None:
    """A refusal without a challenge does not blame the login, which was not sent."""
    registry = scripted()
    registry.fault(Fault(action=Reply(status=403), times=None))

    with pytest.raises(RegistryError) as caught:
        client(registry, USER).tags(repository(registry), page="", count=1)

    assert caught.value.unasked
    assert "was not sent" in caught.value.fault.hint
    assert not any("authorization" in entry.headers for entry in registry.requests())


def test_refused_type_error_names_accepted_types(scripted: Scripted) -> None:
    """The error for a docker manifest refused with 415 names the accepted types."""
    registry = scripted()
    registry.fault(Fault(action=Reply(status=415), method="PUT", times=None))
    docker = "application/vnd.docker.distribution.manifest.v2+json"

    with pytest.raises(RegistryError) as caught:
        client(registry).put_manifest(reference(registry, "v1"), b"{}", media_type=docker, digest=DIGEST)

    assert "accepts only OCI media types" in caught.value.fault.hint
