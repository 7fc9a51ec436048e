"""Authentication options: each makes the registry behave like a registry in use."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from tests.registry import content
from tests.registry.asking import IMAGE, ask

if TYPE_CHECKING:
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

ACCEPT = {"Accept": content.ACCEPT}
BASIC = {"Authorization": "Basic " + base64.b64encode(b"user:pass").decode()}


def bearer(registry: Registry, *scopes: str, **headers: str) -> dict[str, str]:
    """A token for the scopes, as a header."""
    query = urlencode({"service": "scripted", "scope": scopes}, doseq=True)
    answer = ask(registry.address, "GET", f"/token?{query}", headers=headers or BASIC)
    return {"Authorization": f"Bearer {json.loads(answer.body)['token']}"}


def test_challenges_with_realm_service_and_scope(scripted: Scripted) -> None:
    """Without a token the response names the token server and the scope."""
    registry = scripted(auth="token")

    answer = ask(registry.address, "POST", "/v2/a/b/blobs/uploads/?mount=sha256:x&from=c/d")

    expected = f'Bearer realm="{registry.url}/token",service="scripted"'
    expected += ',scope="repository:a/b:pull,push repository:c/d:pull"'
    assert (401, expected) == (answer.status, answer.headers["WWW-Authenticate"])


def test_token_grants_its_scope(scripted: Scripted) -> None:
    """A token with the scope grants exactly that scope."""
    registry = scripted(auth="token")
    registry.add("a/b", IMAGE, "v1")
    registry.add("a/c", IMAGE, "v1")
    headers = ACCEPT | bearer(registry, "repository:a/b:pull")

    assert 200 == ask(registry.address, "GET", "/v2/a/b/manifests/v1", headers=headers).status
    for method, path in (("GET", "/v2/a/c/manifests/v1"), ("POST", "/v2/a/b/blobs/uploads/")):
        answer = ask(registry.address, method, path, headers=headers)
        assert 401 == answer.status
        assert answer.headers["WWW-Authenticate"].endswith(',error="insufficient_scope"')


def test_mount_needs_pull_of_the_other_repository(scripted: Scripted) -> None:
    """A token for the destination alone does not allow a mount."""
    registry = scripted(auth="token")
    digest = registry.add_blob("c/d", b"shared")
    path = f"/v2/a/b/blobs/uploads/?mount={digest}&from=c/d"
    scopes = ("repository:a/b:pull,push", "repository:c/d:pull")

    statuses = [
        ask(registry.address, "POST", path, headers=bearer(registry, *some)).status
        for some in (scopes[:1], scopes)
    ]

    assert [401, 201] == statuses


def test_tokens_expire(scripted: Scripted) -> None:
    """An expired token is 401 invalid_token."""
    registry = scripted(auth="token")
    headers = bearer(registry, "repository:a/b:pull")
    registry.expire_tokens()

    answer = ask(registry.address, "GET", "/v2/a/b/tags/list", headers=headers)

    assert answer.headers["WWW-Authenticate"].endswith(',error="invalid_token"')


def test_tokens_expire_after_some_uses(scripted: Scripted) -> None:
    """token_uses makes a token expire in the middle of a run, without a clock."""
    registry = scripted(auth="token", token_uses=2)
    headers = bearer(registry, "repository:a/b:pull")

    statuses = [ask(registry.address, "GET", "/v2/a/b/tags/list", headers=headers).status for _ in range(3)]

    assert [404, 404, 401] == statuses


@pytest.mark.parametrize(
    ("grants", "expected"), [("asked", [202, 404]), ("pull", [401, 404]), ("first", [202, 401])]
)
def test_token_may_grant_less_than_requested(scripted: Scripted, grants: str, expected: list[int]) -> None:
    """token_grants omits actions or scopes silently."""
    registry = scripted(auth="token", token_grants=grants)
    headers = bearer(registry, "repository:a/b:pull,push", "repository:c/d:pull")

    requests = (("POST", "/v2/a/b/blobs/uploads/"), ("GET", "/v2/c/d/tags/list"))
    statuses = [ask(registry.address, *request, headers=headers).status for request in requests]

    # The repositories are written and read with requests that give 202 and 404 if they are allowed.
    assert expected == statuses


def test_denied_repository_rejects_every_token(scripted: Scripted) -> None:
    """A denied repository is 401 with every token."""
    registry = scripted(auth="token", denied="a/.*")
    headers = bearer(registry, "repository:a/b:pull")

    assert 401 == ask(registry.address, "GET", "/v2/a/b/tags/list", headers=headers).status


@pytest.mark.parametrize(("anonymous", "expected"), [(False, [401, 401]), (True, [404, 401])])
def test_anonymous_token_never_grants_push(scripted: Scripted, anonymous: bool, expected: list[int]) -> None:  # noqa: FBT001  parameter
    """A token without credentials grants pull if that is allowed, and never push."""
    registry = scripted(auth="token", anonymous=anonymous)
    headers = bearer(registry, "repository:a/b:pull,push", Accept="*/*")

    requests = (("GET", "/v2/a/b/tags/list"), ("POST", "/v2/a/b/blobs/uploads/"))
    assert expected == [ask(registry.address, *request, headers=headers).status for request in requests]


def test_wrong_credentials_get_no_token(scripted: Scripted) -> None:
    """The token endpoint answers wrong credentials with 401."""
    registry = scripted(auth="token", password="another")

    assert 401 == ask(registry.address, "GET", "/token?scope=repository:a:pull", headers=BASIC).status


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"grant_type": "password", "username": "user", "password": "pass"}, 200),
        ({"grant_type": "refresh_token", "refresh_token": "refresh:pass"}, 200),
        ({"grant_type": "refresh_token", "refresh_token": "made up"}, 401),
        ({"grant_type": "password", "username": "user", "password": "wrong"}, 401),
    ],
)
def test_token_post_form(scripted: Scripted, form: dict[str, str], expected: int) -> None:
    """POST with a password or a refresh token gives a token that opens its scope."""
    registry = scripted(auth="token")
    body = urlencode(
        {**form, "service": "scripted", "client_id": "x", "scope": "repository:a/b:pull"}
    ).encode()

    answer = ask(registry.address, "POST", "/token", body=body)

    assert expected == answer.status
    if expected == 200:
        headers = {"Authorization": f"Bearer {json.loads(answer.body)['access_token']}"}
        assert 404 == ask(registry.address, "GET", "/v2/a/b/tags/list", headers=headers).status


def test_token_post_form_may_be_missing(scripted: Scripted) -> None:
    """Without token_post the POST form is 404."""
    registry = scripted(auth="token", token_post=False)

    assert 404 == ask(registry.address, "POST", "/token", body=b"grant_type=password").status


def test_offline_token_returns_a_refresh_token(scripted: Scripted) -> None:
    """offline_token=true returns a refresh token that the POST form accepts."""
    registry = scripted(auth="token")

    answer = json.loads(ask(registry.address, "GET", "/token?offline_token=true", headers=BASIC).body)

    assert "refresh:pass" == answer["refresh_token"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"token", "access_token", "issued_at", "expires_in"}),
        ({"token_field": "access_token"}, {"access_token", "issued_at", "expires_in"}),
        ({"token_field": "token", "token_expires_in": None}, {"token", "issued_at"}),
    ],
)
def test_token_answer_fields_follow_options(
    scripted: Scripted, options: dict[str, Any], expected: set[str]
) -> None:
    """The fields of a token answer are those that the options name."""
    registry = scripted(auth="token", **options)

    assert expected == set(json.loads(ask(registry.address, "GET", "/token", headers=BASIC).body))


def test_token_realm_on_the_second_host(scripted: Scripted) -> None:
    """token_elsewhere makes the realm an address of the other host."""
    registry = scripted(auth="token", token_elsewhere=True)

    challenge = ask(registry.address, "GET", "/v2/").headers["WWW-Authenticate"]

    assert f'Bearer realm="http://{registry.elsewhere}/token",service="scripted"' == challenge
    assert 200 == ask(registry.elsewhere, "GET", "/token", headers=BASIC).status


def test_harbor_offers_basic_after_a_bad_token(scripted: Scripted) -> None:
    """A bad bearer token gets a Basic challenge, and Basic opens directly."""
    registry = scripted(auth="token", harbor=True)

    challenges = [
        ask(registry.address, "GET", "/v2/", headers=headers).headers["WWW-Authenticate"].partition(" ")[0]
        for headers in ({}, {"Authorization": "Bearer expired"})
    ]

    assert ["Bearer", "Basic"] == challenges
    assert 200 == ask(registry.address, "GET", "/v2/", headers=BASIC).status
