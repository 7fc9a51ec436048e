"""The server: its log, its connections, its control endpoint, and its life as a process."""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.real.servers import make_certificate
from tests.real.wire import Endpoint, Wire
from tests.registry import content
from tests.registry.asking import IMAGE, ask
from tests.registry.control import Remote
from tests.registry.faults import Fault, Reply, Stall
from tests.registry.process import start_process
from tests.registry.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.fixtures import Scripted, ScriptedProcess


def test_logs_requests(scripted: Scripted) -> None:
    """An entry has method, path, query, headers, status, and the length and hash of the body."""
    registry = scripted()
    headers = {"X-Thing": "7"}

    ask(
        registry.address, "POST", "/v2/a%2Fb/blobs/uploads/?digest=sha256%3Ax", headers=headers, body=b"12345"
    )
    (entry,) = registry.requests()

    assert ("POST", "/v2/a/b/blobs/uploads/", 202) == (entry.method, entry.path, entry.status)
    assert {"digest": ["sha256:x"]} == entry.parameters
    assert ("7", "5") == (entry.headers["x-thing"], entry.headers["content-length"])
    assert (5, hashlib.sha256(b"12345").hexdigest()) == (entry.length, entry.sha256)


def test_log_finds_requests(scripted: Scripted) -> None:
    """Entries are found by method, an expression for the path, status and host."""
    registry = scripted(redirect="get")
    path = f"/v2/a/b/blobs/{registry.add_blob('a/b', b'x')}"
    for method in ("HEAD", "GET"):
        ask(registry.address, method, path)
    ask(registry.elsewhere, "GET", "/storage/a/b/none")

    assert 1 == len(registry.requests(method="HEAD"))
    assert ["HEAD", "GET"] == [entry.method for entry in registry.requests(path=r"/blobs/sha256:")]
    assert ["HEAD"] == [entry.method for entry in registry.requests(status=200)]
    assert ["/storage/a/b/none"] == [entry.path for entry in registry.requests(elsewhere=True)]


def test_reset_empties_the_log(scripted: Scripted) -> None:
    """After a reset the log and the counts are empty; the content stays."""
    registry = scripted()
    digest = registry.add_blob("a/b", b"x")
    ask(registry.address, "GET", "/v2/")
    registry.reset()

    assert ([], 0, b"x") == (registry.requests(), registry.count(), registry.blob("a/b", digest))


def test_count_only_keeps_the_log_empty(scripted: Scripted) -> None:
    """With count_only requests are counted by method and status, and the log stays empty."""
    registry = scripted(count_only=True)
    for path in ("/v2/", "/v2/", "/v3/"):
        ask(registry.address, "GET", path)

    assert ([], 2, 1) == (registry.requests(), registry.count(status=200), registry.count(status=404))


def test_waits_for_a_request(scripted: Scripted) -> None:
    """wait_for returns when the request has arrived, and otherwise lists what arrived."""
    registry = scripted()
    thread = threading.Thread(target=ask, args=(registry.address, "GET", "/v2/"))
    thread.start()

    assert ["/v2/"] == [entry.path for entry in registry.wait_for(method="GET", status=200)]
    thread.join(30)
    with pytest.raises(TimeoutError, match=r"GET /v2/ 200"):
        registry.wait_for(method="PUT", seconds=0.01)


def test_connections_are_reused(scripted: Scripted) -> None:
    """Requests of one client share a connection, and the log tells which one."""
    registry = scripted()
    for _ in range(2):
        with Wire(Endpoint(address=registry.address)) as wire:
            wire.ask("GET", "/v2/")
            wire.ask("POST", "/v2/a/b/blobs/uploads/", body=b"")

    assert [1, 1, 2, 2] == [entry.connection for entry in registry.requests()]


def test_reads_chunked_bodies(scripted: Scripted) -> None:
    """A chunked body is read, hashed and stored like any other."""
    registry = scripted()
    body = b"0123456789" * 1000
    session = ask(registry.address, "POST", "/v2/a/b/blobs/uploads/").headers["Location"]
    host, _, port = registry.address.partition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=30)) as connection:
        pieces = (body[start : start + 999] for start in range(0, len(body), 999))
        connection.request("PUT", f"{session}&digest={content.digest_of(body)}", body=pieces)
        assert connection.getresponse().status == 201

    assert registry.blob("a/b", content.digest_of(body)) == body
    assert [len(body)] == [entry.length for entry in registry.requests(method="PUT")]


def test_answers_expect_continue(scripted: Scripted) -> None:
    """Expect: 100-continue is answered before the body is read."""
    registry = scripted()

    answer = ask(
        registry.address, "POST", "/v2/a/b/blobs/uploads/", headers={"Expect": "100-continue"}, body=b"x"
    )

    assert answer.status == 202


@pytest.mark.parametrize("hello", [b"\x16\x03\x01 a b\n", b"\x16\x03\x01\n", b"GET /v2/ HTTP/2\n"])
def test_disconnects_clients_that_speak_no_http(scripted: Scripted, hello: bytes) -> None:
    """A client that speaks TLS, or anything else, to the plain port is disconnected and not logged."""
    registry = scripted()
    host, _, port = registry.address.partition(":")
    with closing(socket.create_connection((host, int(port)), timeout=30)) as sock:
        sock.sendall(hello)
        assert sock.recv(100) == b""

    assert not registry.requests()


def test_serves_connections_in_parallel(scripted: Scripted) -> None:
    """Each connection has its own thread: a stalled request does not block others."""
    registry = scripted()
    registry.fault(Fault(action=Stall(seconds=60), path="/v2/stalled/"))
    thread = threading.Thread(target=ask, args=(registry.address, "GET", "/v2/stalled/tags/list"))
    thread.start()
    registry.wait_for(path="stalled")

    assert ask(registry.address, "GET", "/v2/").status == 200
    registry.release()
    thread.join(30)


def test_stops_with_open_connections() -> None:
    """A registry stops even while clients hold connections and a request is stalled."""
    with Registry() as registry, Wire(Endpoint(address=registry.address)) as wire:
        registry.fault(Fault(action=Stall(seconds=60), path="/v2/x/"))
        wire.ask("GET", "/v2/")
        ended: list[type[Exception]] = []

        def stalled() -> None:
            try:
                ask(registry.address, "GET", "/v2/x/tags/list")
            except (http.client.HTTPException, OSError) as error:
                ended.append(type(error))

        thread = threading.Thread(target=stalled)
        thread.start()
        registry.wait_for(path="/v2/x/")
        registry.stop()
        thread.join(30)

    assert not thread.is_alive()
    assert not [each for each in threading.enumerate() if registry.address in each.name]


def test_suspended_registry_refuses_connections(scripted: Scripted) -> None:
    """A suspended registry breaks its connections and refuses new ones until it resumes."""
    registry = scripted()
    with closing(http.client.HTTPConnection(registry.address, timeout=5)) as connection:
        connection.request("GET", "/v2/")
        assert connection.getresponse().read() == b"{}"
        registry.suspend()
        broken = connection.sock.recv(1)
    with pytest.raises(ConnectionRefusedError):
        ask(registry.address, "GET", "/v2/")
    registry.resume()

    assert (b"", 200) == (broken, ask(registry.address, "GET", "/v2/").status)


def test_options_change_while_it_runs(scripted: Scripted) -> None:
    """`set` changes the options of later requests."""
    registry = scripted()
    before = ask(registry.address, "GET", "/v2/").status
    registry.set(auth="basic")

    assert (200, 401) == (before, ask(registry.address, "GET", "/v2/").status)


def test_serves_https(scripted: Scripted, tmp_path: Path, needs_real: None) -> None:
    """With a certificate both hosts speak TLS, and their URLs are https."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(tmp_path))
    registry = scripted(tls=context, redirect="get", location="absolute")
    digest = registry.add_blob("a/b", b"x")
    with Wire(Endpoint(address=registry.address, ca=tmp_path / "trust" / "ca.crt")) as wire:
        location = wire.ask("GET", f"/v2/a/b/blobs/{digest}").headers["Location"]
        session = wire.ask("POST", "/v2/a/b/blobs/uploads/").headers["Location"]

    assert location.startswith(f"https://{registry.elsewhere}/storage/")
    assert session.startswith(f"{registry.url}/v2/")


def test_can_be_scripted_over_http(scripted: Scripted) -> None:
    """Content, faults, options and log are reachable through the control endpoint, which is not logged."""
    registry = scripted()
    remote = Remote(registry.address)
    tree = content.index(IMAGE, content.attestation(IMAGE))
    remote.add("a/b", tree, "v1")
    remote.add_tags("a/b", 3, tree.digest)
    large = remote.add_large_blob("a/c", 100)
    remote.create("empty")
    remote.fault(Fault(action=Reply(status=503), times=None))
    status = ask(registry.address, "GET", "/v2/").status
    remote.clear_faults()
    remote.set(page=2)

    assert 503 == status
    assert tree.manifest == remote.manifest("a/b", "v0000002") == registry.manifest("a/b", "v1")
    assert {"v1": tree.digest} == remote.tags("a/b")
    assert registry.manifests("a/b") == remote.manifests("a/b")
    assert registry.blobs("a/b") == remote.blobs("a/b")
    assert (["a/b", "a/c"], registry.elsewhere) == (remote.repositories(), remote.elsewhere)
    assert IMAGE.blobs[0] == remote.blob("a/b", content.digest_of(IMAGE.blobs[0]))
    assert registry.requests() == remote.requests() == remote.wait_for(status=503)
    assert (1, 0, 0) == (remote.count(status=503), remote.bytes_received, remote.bytes_sent)
    assert (2, []) == (registry.options.page, remote.errors())
    remote.forget_blob("a/c", large)
    remote.reset()
    assert ([], []) == (remote.blobs("a/c"), remote.requests())


@pytest.mark.parametrize(("verb", "words"), [("nonsense", "no verb 'nonsense'"), ("tags", "TypeError")])
def test_wrong_control_request_is_an_error(scripted: Scripted, verb: str, words: str) -> None:
    """A wrong verb or wrong arguments are an error that says so."""
    with pytest.raises(RuntimeError, match=words):
        Remote(scripted().address).call(verb)


def test_runs_as_a_process(scripted_process: ScriptedProcess) -> None:
    """A registry in its own process takes options and can be scripted."""
    registry = scripted_process(auth="basic")
    registry.add("a/b", IMAGE, "v1")
    with Wire(Endpoint(address=registry.address, user="user", password="pass")) as wire:
        found = wire.manifest("a/b", "v1")

    assert (IMAGE.manifest, 401) == (found.body, ask(registry.address, "GET", "/v2/").status)
    assert [200, 401] == [entry.status for entry in registry.requests()]


def test_process_with_certificate_serves_https(tmp_path: Path, needs_real: None) -> None:
    """A process with a certificate is scripted over HTTPS."""
    with start_process(tls=make_certificate(tmp_path)) as registry:
        registry.add("a/b", IMAGE, "v1")

        assert registry.tags("a/b") == {"v1": IMAGE.digest}


@pytest.mark.parametrize(
    ("flags", "scheme"), [([], None), (["--token"], "Bearer"), (["--basic", "me:secret"], "Basic")]
)
def test_starts_from_the_command_line(flags: list[str], scheme: str | None) -> None:
    """`python -m tests.registry` prints its address and serves until standard input ends."""
    command = [sys.executable, "-m", "tests.registry", "--until-eof", *flags]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        answer = ask(process.stdout.readline().strip(), "GET", "/v2/")
        process.stdin.close()

        assert process.wait(30) == 0
    assert scheme == (answer.headers.get("WWW-Authenticate", "").partition(" ")[0] or None)
