from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RegistryError, ThrottledError
from pipeline.model.credential import Credential
from pipeline.model.reference import Repository
from pipeline.registry.meter import metering
from pipeline.registry.tokens import Token, scopes_for
from tests.registry.content import digest_of
from tests.registry.faults import Fault, Reply, throttle
from tests.unit.registry.asking import ANONYMOUS, USER, client, clients, repository

if TYPE_CHECKING:
    from pipeline.registry.client import Client
    from tests.registry.fixtures import Scripted
    from tests.registry.log import Entry
    from tests.registry.registry import Registry

BLOB = b"content"
DIGEST = digest_of(BLOB)


def filled(scripted: Scripted, **options: object) -> Registry:
    """A registry with one blob in two repositories."""
    registry = scripted(**options)
    registry.add_blob("team/app", BLOB)
    registry.add_blob("team/other", BLOB)
    return registry


def status_of(asking: Client, registry: Registry) -> int | None:
    """The error of a request for the blob."""
    with pytest.raises(RegistryError) as caught:
        asking.head_blob(repository(registry), DIGEST)
    return caught.value.fault.status


def tokens(registry: Registry) -> list[Entry]:
    """The requests for tokens."""
    return registry.requests(path="token")


class TestBearer:
    def test_challenge_and_token_are_reused(self, scripted: Scripted) -> None:
        """The challenge of the first 401 and the token that follows serve all later requests."""
        registry = filled(scripted, auth="token")
        asking = client(registry, USER)
        for _ in range(3):
            assert len(BLOB) == asking.head_blob(repository(registry), DIGEST)

        assert len(registry.requests(method="HEAD", status=401)) == 1
        assert len(tokens(registry)) == 1

    def test_token_is_for_one_repository(self, scripted: Scripted) -> None:
        """A token for one repository is not used for another one, and no 401 is needed to know that."""
        registry = filled(scripted, auth="token")
        asking = client(registry, USER)
        asking.head_blob(repository(registry), DIGEST)
        asking.head_blob(repository(registry, "team/other"), DIGEST)

        assert len(registry.requests(method="HEAD", status=401)) == 1
        assert len(tokens(registry)) == 2

    def test_source_and_destination_scopes(self, scripted: Scripted) -> None:
        """A source asks for pull, a destination for pull and push at once."""
        registry = filled(scripted, auth="token")
        both = clients(registry, USER)
        both.at(registry.address).head_blob(repository(registry), DIGEST)
        both.at(registry.address, push=True).head_blob(repository(registry), DIGEST)

        asked = [entry.parameters["scope"] for entry in tokens(registry)]
        assert asked == [["repository:team/app:pull"], ["repository:team/app:pull,push"]]

    def test_push_token_serves_a_pull(self, scripted: Scripted) -> None:
        """A token for pull and push is used for a pull, too."""
        registry = filled(scripted, auth="token")
        both = clients(registry, USER)
        both.at(registry.address, push=True).head_blob(repository(registry), DIGEST)
        both.at(registry.address).head_blob(repository(registry), DIGEST)

        assert len(tokens(registry)) == 1

    def test_anonymous_token_without_credentials(self, scripted: Scripted) -> None:
        """Without credentials an anonymous token is requested, without Authorization."""
        registry = filled(scripted, auth="token", anonymous=True)

        assert client(registry).head_blob(repository(registry), DIGEST) == len(BLOB)
        assert "authorization" not in tokens(registry)[0].headers

    def test_forgotten_token_is_replaced(self, scripted: Scripted) -> None:
        """A token that the registry has forgotten is replaced once, without the caller noticing."""
        registry = filled(scripted, auth="token")
        asking = client(registry, USER)
        asking.head_blob(repository(registry), DIGEST)
        registry.expire_tokens()

        assert asking.head_blob(repository(registry), DIGEST) == len(BLOB)
        assert len(tokens(registry)) == 2

    def test_basic_challenge_to_an_expired_token(self, scripted: Scripted) -> None:
        """Harbor's Basic challenge to an expired token does not replace the Bearer challenge."""
        registry = filled(scripted, auth="token")
        asking = client(registry, USER)
        asking.head_blob(repository(registry), DIGEST)
        basic = Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="harbor"'})
        registry.fault(Fault(action=basic, method="HEAD"))

        assert asking.head_blob(repository(registry), DIGEST) == len(BLOB)
        assert len(tokens(registry)) == 2

    def test_denied_new_token_is_final(self, scripted: Scripted) -> None:
        """A 401 to a new token for the same scopes is final after one attempt, and has a hint."""
        registry = filled(scripted, auth="token", denied="team/app")
        with pytest.raises(RegistryError) as caught:
            client(registry, USER).head_blob(repository(registry), DIGEST)

        assert caught.value.fault.status == 401
        assert not caught.value.fault.retryable
        assert "auth.yaml key" in caught.value.fault.hint
        assert len(registry.requests(method="HEAD")) == 2

    def test_token_server_refusal_is_final(self, scripted: Scripted) -> None:
        """A refusal by the token server is final, and the error names the credential without its values."""
        registry = filled(scripted, auth="token")
        wrong = replace(USER, password="hunter2-wrong")
        with pytest.raises(RegistryError) as caught:
            client(registry, wrong).head_blob(repository(registry), DIGEST)

        assert "get a token" in str(caught.value)
        assert "auth.yaml key" in str(caught.value)
        assert "hunter2" not in str(caught.value)
        assert base64.b64encode(b"user:hunter2-wrong").decode() not in str(caught.value)
        assert len(tokens(registry)) == 1

    def test_missing_rights_are_detected(self, scripted: Scripted) -> None:
        """A token with fewer rights than requested is detected by the 401 to it."""
        registry = filled(scripted, auth="token", token_grants="pull")
        with pytest.raises(RegistryError) as caught:
            client(registry, USER, push=True).begin_upload(repository(registry), DIGEST)

        assert caught.value.fault.status == 401

    def test_token_without_expiry(self, scripted: Scripted) -> None:
        """A token server may send only an access_token."""
        registry = filled(scripted, auth="token", token_field="access_token", token_expires_in=None)

        assert client(registry, USER).head_blob(repository(registry), DIGEST) == len(BLOB)

    def test_threads_request_a_token_once(self, scripted: Scripted) -> None:
        """Threads that need the same token request it once."""
        registry = filled(scripted, auth="token")
        asking = client(registry, USER)
        asking.head_blob(repository(registry, "team/other"), DIGEST)
        with ThreadPoolExecutor(8) as pool:
            sizes = list(pool.map(lambda _: asking.head_blob(repository(registry), DIGEST), range(16)))

        assert sizes == [len(BLOB)] * 16
        assert len(tokens(registry)) == 2

    def test_throttled_token_server_is_a_pause(self, scripted: Scripted) -> None:
        """A token server's request for a pause becomes a ThrottledError of its registry."""
        registry = filled(scripted, auth="token")
        registry.fault(throttle(retry_after="9", path="token"))
        with pytest.raises(ThrottledError):
            client(registry, USER).head_blob(repository(registry), DIGEST)

        assert len(tokens(registry)) == 1

    def test_token_server_error_is_repeated(self, scripted: Scripted) -> None:
        """A request to a token server that fails once is repeated."""
        registry = filled(scripted, auth="token")
        registry.fault(Fault(action=Reply(status=502), path="token"))

        assert client(registry, USER).head_blob(repository(registry), DIGEST) == len(BLOB)

    def test_scope_of_the_challenge_is_added(self, scripted: Scripted) -> None:
        """A scope that the challenge names is requested in addition, once."""
        registry = filled(scripted, auth="token")
        challenge = f'Bearer realm="{registry.url}/token",service="scripted",error="insufficient_scope"'
        more = {"WWW-Authenticate": f'{challenge},scope="repository:team/base:pull"'}
        registry.fault(Fault(action=Reply(status=403, headers=more), method="HEAD", skip=1))
        client(registry, USER).head_blob(repository(registry), DIGEST)

        scopes = tokens(registry)[-1].parameters["scope"]
        assert scopes == ["repository:team/app:pull", "repository:team/base:pull"]


class TestOtherForms:
    def test_basic_challenge_is_answered(self, scripted: Scripted) -> None:
        """A Basic challenge is answered with user and password in UTF-8; later requests send them at once."""
        registry = filled(scripted, auth="basic", username="pä", password="€")
        asking = client(registry, replace(USER, username="pä", password="€"))
        for _ in range(2):
            assert asking.head_blob(repository(registry), DIGEST) == len(BLOB)

        assert len(registry.requests(status=401)) == 1

    def test_identity_token_uses_the_oauth2_form(self, scripted: Scripted) -> None:
        """An identity token uses the OAuth2 form."""
        registry = filled(scripted, auth="token")
        identity = Credential(origin="helper", identity_token="refresh:pass", insecure=True)

        assert client(registry, identity).head_blob(repository(registry), DIGEST) == len(BLOB)
        assert [entry.method for entry in tokens(registry)] == ["POST"]

    def test_get_replaces_an_unknown_oauth2_form(self, scripted: Scripted) -> None:
        """If the OAuth2 form is unknown, the password is sent by GET."""
        registry = filled(scripted, auth="token", token_post=False)
        identity = replace(USER, identity_token="refresh:pass")

        assert client(registry, identity).head_blob(repository(registry), DIGEST) == len(BLOB)
        assert [entry.method for entry in tokens(registry)] == ["POST", "GET"]

    def test_registry_token_is_sent_at_once(self, scripted: Scripted) -> None:
        """A ready token is sent as it is, with the first request."""
        registry = filled(scripted)
        ready = Credential(origin="config", registry_token="ready", insecure=True)
        client(registry, ready).head_blob(repository(registry), DIGEST)

        assert [entry.headers["authorization"] for entry in registry.requests()] == ["Bearer ready"]

    def test_invalid_header_value_is_refused(self, scripted: Scripted) -> None:
        """A token that is not a valid header value is refused, and not shown."""
        registry = filled(scripted)
        ready = Credential(origin="config", registry_token="hunter2\r\nX: y", insecure=True)
        with pytest.raises(RegistryError) as caught:
            client(registry, ready).head_blob(repository(registry), DIGEST)

        assert "hunter2" not in str(caught.value)

    def test_realm_on_another_host(self, scripted: Scripted) -> None:
        """A token server on another host gets the credential, and counts for the registry."""
        registry = filled(scripted, auth="token", token_elsewhere=True)
        with metering() as meter:
            client(registry, USER).head_blob(repository(registry), DIGEST)

        assert len(registry.requests(path="token", elsewhere=True)) == 1
        assert set(meter.requests) == {registry.address}

    @pytest.mark.parametrize("realm", ["null://host/v2/token", "", "http://[::1"])
    def test_invalid_realm_is_a_fault(self, scripted: Scripted, realm: str) -> None:
        """A realm that is not a URL is a fault, not a traceback."""
        registry = filled(scripted)
        challenge = {"WWW-Authenticate": f'Bearer realm="{realm}"'}
        registry.fault(Fault(action=Reply(status=401, headers=challenge), times=None))
        with pytest.raises(RegistryError):
            client(registry, USER).head_blob(repository(registry), DIGEST)

    def test_challenge_is_requested_from_v2(self, scripted: Scripted) -> None:
        """After a 401 without a challenge, /v2/ is requested for one, without Authorization."""
        registry = filled(scripted, auth="token")
        registry.fault(Fault(action=Reply(status=401), method="HEAD"))

        assert client(registry, USER).head_blob(repository(registry), DIGEST) == len(BLOB)
        assert len(registry.requests(path="^/v2/$")) == 1

    def test_challenge_of_storage_is_ignored(self, scripted: Scripted) -> None:
        """A challenge of the storage host is ignored, and it gets no credentials."""
        registry = filled(scripted, redirect="get")
        evil = {"WWW-Authenticate": f'Bearer realm="{registry.url}/steal",service="x"'}
        registry.fault(Fault(action=Reply(status=401, headers=evil), path="storage", times=None))
        with pytest.raises(RegistryError):
            client(registry, USER).open_blob(repository(registry), DIGEST, size=len(BLOB))

        assert registry.requests(path="steal") == []


class TestEvents:
    def test_origin_of_credential_is_logged_once(self, scripted: Scripted) -> None:
        """Once per registry and process an event names the origin of the credential, without its value."""
        registry = filled(scripted)
        asking = client(registry, USER)
        with metering() as meter:
            asking.head_blob(repository(registry), DIGEST)
            asking.head_blob(repository(registry, "team/other"), DIGEST)

        (event,) = meter.events
        assert event.name == "credentials.chosen"
        assert event.fields == {"registry": registry.address, "origin": USER.origin}
        assert "pass" not in event.message

    @pytest.mark.parametrize("auth", ["basic", "token"])
    def test_rejected_login_is_logged_once(self, scripted: Scripted, auth: str) -> None:
        """A rejected login is logged once, and the error names it."""
        registry = filled(scripted, auth=auth)
        asking = client(registry, replace(USER, password="hunter2-wrong"), push=True)
        with metering() as meter:
            for _ in range(2):
                with pytest.raises(RegistryError, match=r"rejects the username or password from auth\.yaml"):
                    asking.head_blob(repository(registry), DIGEST)
        rejected = [event for event in meter.events if event.name == "credentials.rejected"]

        assert [event.fields for event in rejected] == [
            {
                "registry": registry.address,
                "origin": "auth.yaml key 127.0.0.1",
                "side": "destination",
                "status": 401,
            }
        ]
        assert "hunter2" not in str(rejected)

    def test_rejected_password_is_not_sent_again(self, scripted: Scripted) -> None:
        """A rejected password is not sent again for each request, because accounts get locked."""
        registry = filled(scripted, auth="token")
        asking = client(registry, replace(USER, password="wrong"))
        with ThreadPoolExecutor(8) as pool:
            statuses = set(pool.map(lambda _: status_of(asking, registry), range(16)))

        assert (statuses, len(tokens(registry))) == ({401}, 1)

    def test_missing_right_is_not_a_rejected_login(self, scripted: Scripted) -> None:
        """A valid login without a right is not reported as rejected."""
        registry = filled(scripted, auth="token", denied="team/app")
        with metering() as meter, pytest.raises(RegistryError, match="may not read there"):
            client(registry, USER).head_blob(repository(registry), DIGEST)

        assert "credentials.rejected" not in {event.name for event in meter.events}

    def test_later_401_is_a_missing_right(self, scripted: Scripted) -> None:
        """A 401 to a password that was accepted before is a missing right (Nexus)."""
        registry = filled(scripted, auth="basic")
        registry.fault(Fault(action=Reply(status=401), path="team/other", times=None))
        asking = client(registry, USER)
        asking.head_blob(repository(registry), DIGEST)
        with metering() as meter, pytest.raises(RegistryError, match="may not read there"):
            asking.head_blob(repository(registry, "team/other"), DIGEST)

        assert "credentials.rejected" not in {event.name for event in meter.events}

    @pytest.mark.parametrize("auth", ["basic", "token"])
    def test_missing_login_error_says_where_to_log_in(self, scripted: Scripted, auth: str) -> None:
        """Without a login the error says where to log in, whatever the registry's kind of login."""
        registry = filled(scripted, auth=auth)
        with pytest.raises(RegistryError) as caught:
            client(registry).head_blob(repository(registry), DIGEST)

        assert f"no credentials for {registry.address}: add them to the auth file" in caught.value.fault.hint

    def test_credentials_by_repository(self, scripted: Scripted) -> None:
        """Repositories of one registry may have their own credentials."""
        registry = filled(scripted, auth="token")

        def find(asked: Repository) -> Credential:
            return USER if asked.path == "team/app" else ANONYMOUS

        asking = clients(registry, find=find).at(registry.address)
        assert asking.head_blob(repository(registry), DIGEST) == len(BLOB)
        with pytest.raises(RegistryError):
            asking.head_blob(repository(registry, "team/other"), DIGEST)


class TestTokens:
    def test_token_is_renewed_before_it_ends(self) -> None:
        """A token is renewed a tenth of its life before it ends, and earlier before a body."""
        token = Token(value="x", scopes=("repository:a:pull",), life=300, ends=1000)

        assert token.lasts(960, body=False)
        assert not token.lasts(971, body=False)
        assert not token.lasts(960, body=True)

    def test_token_covers_contained_scopes(self) -> None:
        """A token serves scopes that it contains, if both begin with the same scope."""
        app, base = "repository:app:pull,push", "repository:base:pull"
        token = Token(value="x", scopes=(app, base), life=300, ends=1000)

        assert token.covers(("repository:app:pull",))
        assert token.covers((app, base))
        assert not token.covers((base,))
        assert not token.covers(("repository:app:delete",))

    def test_repository_is_never_in_two_scopes(self) -> None:
        """One repository is never named in two scopes."""
        app = Repository("quay.io", "app")

        assert scopes_for(app, push=True, mount="app") == ("repository:app:pull,push",)
