from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RegistryError, ThrottledError
from pipeline.http import connection
from pipeline.model.credential import Credential
from pipeline.model.reference import Repository
from pipeline.registry.clients import Clients
from pipeline.registry.meter import metering
from pipeline.registry.session import RegistrySession
from pipeline.settings import Timeouts
from tests.registry.content import digest_of
from tests.registry.faults import Drop, Fault, Reply, redirect, throttle
from tests.unit.http.sending import finish, sending
from tests.unit.registry.asking import ANONYMOUS, QUICK, USER, client, reference, repository
from tests.unit.registry.peers import peer

if TYPE_CHECKING:
    import socket

    from tests.registry.fixtures import Scripted

BLOB = b"content" * 1000
DIGEST = digest_of(BLOB)


def open_files() -> int:
    """The number of open descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


class TestRedirects:
    def test_authorization_is_not_sent_to_storage(self, scripted: Scripted) -> None:
        """Authorization is not sent to another host that serves a blob."""
        registry = scripted(auth="basic", redirect="get")
        registry.add_blob("team/app", BLOB)
        with client(registry, USER).open_blob(repository(registry), DIGEST, size=len(BLOB)) as body:
            assert b"".join(map(bytes, body)) == BLOB

        (entry,) = registry.requests(elsewhere=True)
        assert set(entry.headers) <= {"host", "user-agent", "accept-encoding", "connection"}

    def test_authorization_is_sent_within_the_origin(self, scripted: Scripted) -> None:
        """Authorization is sent after a redirect within the registry's origin."""
        registry = scripted(auth="basic")
        registry.add_blob("team/app", BLOB)
        registry.fault(redirect(f"/v2/team/app/blobs/{DIGEST}?moved", path="^[^?]*$", skip=1))
        with client(registry, USER).open_blob(repository(registry), DIGEST, size=len(BLOB)) as body:
            assert b"".join(map(bytes, body)) == BLOB

    def test_storage_connections_are_shared(self) -> None:
        """Registries that redirect to the same storage share its connections."""
        said = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nblob"
        ports: list[int] = []

        def store(sock: socket.socket) -> None:
            ports.append(sock.getpeername()[1])
            sock.sendall(said)

        with peer(store) as storage:
            there = f"HTTP/1.1 307 There\r\nLocation: http://{storage}/\r\nContent-Length: 0\r\n\r\n".encode()
            with (
                peer(lambda sock: sock.sendall(there)) as one,
                peer(lambda sock: sock.sendall(there)) as other,
            ):
                made = Clients(QUICK, lambda _: ANONYMOUS)
                for address in (one, other):
                    made.at(address)._session._schemes[True] = "http"
                    with made.at(address).open_blob(Repository(address, "a"), DIGEST, size=4) as body:
                        assert b"".join(map(bytes, body)) == b"blob"

        assert ports[0] == ports[1]

    def test_endless_redirects_fail(self, scripted: Scripted) -> None:
        """Endless redirects fail after five."""
        registry = scripted()
        registry.fault(redirect("/v2/again", times=None))
        with pytest.raises(RegistryError, match="redirects"):
            client(registry).tags(repository(registry), page="", count=10)

        assert len(registry.requests()) == 6

    def test_accept_is_sent_to_another_host(self, scripted: Scripted) -> None:
        """Accept is sent to another host too: registry.k8s.io redirects each request for a manifest."""
        registry = scripted(redirect="get")
        registry.fault(redirect(f"http://127.0.0.2:{registry.address.rpartition(':')[2]}/v2/x"))
        with suppress(RegistryError):
            client(registry, USER).get_manifest(reference(registry, "v1"), limit=1000)

        first, second = registry.requests()[:2]
        assert first.headers["accept"] == second.headers["accept"]
        assert "authorization" not in second.headers

    def test_dead_storage_is_named(self, scripted: Scripted, unused_port: int) -> None:
        """A dead host that the registry named is the fault's host; the hint says who named it."""
        registry = scripted()
        registry.fault(redirect(f"http://127.0.0.2:{unused_port}/x", times=None))
        with pytest.raises(RegistryError) as caught:
            client(registry).open_blob(repository(registry), DIGEST, size=len(BLOB))

        fault = caught.value.fault
        assert (fault.registry, fault.host) == (registry.address, f"127.0.0.2:{unused_port}")
        assert f"{registry.address} names {fault.host}" in fault.hint

    def test_expired_presigned_url_is_renewed(self, scripted: Scripted) -> None:
        """After an expired presigned URL the registry is asked again."""
        registry = scripted(redirect="get")
        registry.add_blob("team/app", BLOB)
        expired = Reply(status=403, body="<Error><Code>AccessDenied</Code><Message>Expired</Message></Error>")
        registry.fault(Fault(action=expired, path="storage"))
        with client(registry).open_blob(repository(registry), DIGEST, size=len(BLOB)) as body:
            assert b"".join(map(bytes, body)) == BLOB

        assert len(registry.requests(elsewhere=True)) == 2

    def test_errors_have_no_storage_signature(self, scripted: Scripted) -> None:
        """No error has the signature of a storage URL."""
        registry = scripted(redirect="get")
        registry.add_blob("team/app", BLOB)
        registry.fault(Fault(action=Drop(), path="storage", times=None))
        with pytest.raises(RegistryError) as caught:
            client(registry).open_blob(repository(registry), DIGEST, size=len(BLOB))

        assert "signature" not in str(caught.value)
        assert "127.0.0.2" in str(caught.value)


class TestRetries:
    def test_retryable_failure_is_tried_three_times(self, scripted: Scripted) -> None:
        """A retryable failure is tried three times in total."""
        registry = scripted()
        registry.add_blob("team/app", BLOB)
        registry.fault(Fault(action=Reply(status=500), times=2))

        assert client(registry).head_blob(repository(registry), DIGEST) == len(BLOB)
        assert len(registry.requests()) == 3

    def test_third_failure_is_final(self, scripted: Scripted) -> None:
        """After three attempts the failure is final and marked as retryable."""
        registry = scripted()
        registry.fault(Fault(action=Reply(status=502, body="<html><title>Bad Gateway</title>"), times=None))
        with pytest.raises(RegistryError, match="Bad Gateway") as caught:
            client(registry).tags(repository(registry), page="", count=10)

        assert caught.value.fault.retryable
        assert len(registry.requests()) == 3

    def test_permanent_failure_is_tried_once(self, scripted: Scripted) -> None:
        """A permanent failure is tried once."""
        registry = scripted()
        registry.fault(Fault(action=Reply(status=403), times=None))
        with pytest.raises(RegistryError):
            client(registry).tags(repository(registry), page="", count=10)

        assert len(registry.requests()) == 1

    def test_throttling_is_raised_at_once(self, scripted: Scripted) -> None:
        """A 429 is raised at once with the requested delay, without sleeping."""
        registry = scripted()
        registry.fault(throttle(retry_after="100"))
        with pytest.raises(ThrottledError) as caught:
            client(registry).tags(repository(registry), page="", count=10)

        assert 100 <= caught.value.delay <= 125
        assert len(registry.requests()) == 1

    def test_closed_idle_connection_is_not_an_attempt(self, scripted: Scripted) -> None:
        """Reusing a connection that the server closed while idle does not count as an attempt."""
        registry = scripted()
        registry.add_blob("team/app", BLOB)
        asking = client(registry)
        asking.head_blob(repository(registry), DIGEST)
        registry.fault(Fault(action=Drop()))

        assert asking.head_blob(repository(registry), DIGEST) == len(BLOB)
        assert len(registry.requests()) == 3

    def test_long_idle_connection_is_not_reused(
        self, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A connection that was idle for long is not reused."""
        registry = scripted()
        asking = client(registry)
        asking.head_blob(repository(registry), DIGEST)
        asking.head_blob(repository(registry), DIGEST)
        monkeypatch.setattr(connection, "_MAX_IDLE", -1.0)
        asking.head_blob(repository(registry), DIGEST)

        first, second, third = (entry.connection for entry in registry.requests())
        assert first == second != third

    def test_protocol_switch_is_a_lost_connection(self, scripted: Scripted) -> None:
        """An unrequested change of the protocol is a lost connection."""
        registry = scripted()
        registry.add_blob("team/app", BLOB)
        registry.fault(Fault(action=Reply(status=101)))

        assert client(registry).head_blob(repository(registry), DIGEST) == len(BLOB)


class TestWire:
    def test_docker_hub_requests_go_to_its_api_host(self) -> None:
        """Requests to docker.io go to its API host."""
        assert RegistrySession("docker.io", Timeouts()).base(insecure=False) == "https://registry-1.docker.io"

    def test_unreachable_registry_is_a_fault(self, unused_port: int) -> None:
        """An unreachable registry gives a fault that names it, not an exception of the HTTP stack."""
        address = f"127.0.0.1:{unused_port}"
        with pytest.raises(RegistryError) as caught:
            Clients(QUICK, lambda _: ANONYMOUS).at(address).head_blob(Repository(address, "a"), DIGEST)

        assert caught.value.fault.code == "UNREACHABLE"
        assert caught.value.fault.registry == address

    def test_plain_http_is_detected_once(self, scripted: Scripted) -> None:
        """Allowed plain HTTP is detected once, after https, and a handshake does not count as a request."""
        registry = scripted()
        asking = Clients(QUICK, lambda _: ANONYMOUS).at(registry.address)
        with metering() as meter:
            asking.head_blob(repository(registry), DIGEST)
        first = meter.requests[registry.address]
        with metering() as meter:
            asking.head_blob(repository(registry), DIGEST)

        assert (first, meter.requests[registry.address]) == (1, 1)

    def test_plain_http_refused(self, scripted: Scripted) -> None:
        """Without `insecure` nothing is sent over plain HTTP."""
        registry = scripted()
        secure = Clients(QUICK, lambda _: Credential(origin="none")).at(registry.address)
        with pytest.raises(RegistryError):
            secure.head_blob(repository(registry), DIGEST)

        assert registry.requests(method="HEAD") == []

    def test_user_agent_and_no_compression(self, scripted: Scripted) -> None:
        """Every request names this program and refuses compression."""
        registry = scripted()
        client(registry).head_blob(repository(registry), DIGEST)

        (entry,) = registry.requests()
        assert entry.headers["user-agent"].startswith("image-syncer/")
        assert entry.headers["accept-encoding"] == "identity"

    def test_cookies_are_not_sent_back(self, scripted: Scripted) -> None:
        """Cookies are not sent back: Harbor would ask for its CSRF token."""
        registry = scripted()
        asking = client(registry)
        registry.fault(Fault(action=Reply(status=404, headers={"Set-Cookie": "sid=1; Path=/"})))
        for _ in range(2):
            asking.head_blob(repository(registry), DIGEST)

        assert "cookie" not in registry.requests()[-1].headers

    def test_many_hosts_use_few_open_files(self) -> None:
        """Storage with many host names does not use more and more open files."""
        count, fine = 60, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        with ExitStack() as stack:
            sender = stack.enter_context(sending())
            hosts = [stack.enter_context(peer(lambda sock: sock.sendall(fine))) for _ in range(count)]
            before = open_files()
            for host in hosts:
                finish(sender.ask(f"http://{host}/v2/"))

            # The other end of each connection is in this process; those to the last hosts are kept.
            assert open_files() - before < 2 * count - 20

    def test_requests_and_bytes_are_counted(self, scripted: Scripted) -> None:
        """Requests and received bytes are counted for the running task."""
        registry = scripted()
        registry.add_blob("team/app", BLOB)
        asking = client(registry)
        asking.head_blob(repository(registry), DIGEST)
        with (
            metering() as meter,
            asking.open_blob(repository(registry), DIGEST, size=len(BLOB)) as body,
        ):
            assert b"".join(map(bytes, body)) == BLOB

        assert (meter.requests, meter.read, meter.written) == ({registry.address: 1}, len(BLOB), 0)
