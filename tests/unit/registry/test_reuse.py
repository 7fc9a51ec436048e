"""Which connections are used again: none on which anything of another answer may lie, or may still come."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.registry.wire import Wire
from tests.unit.registry.peers import peer

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.registry.wire import Answer

FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def wired() -> Iterator[Wire]:
    """Connections that verify nobody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    wire = Wire(context, dial=5)
    try:
        yield wire
    finally:
        wire.close()


def ask(wire: Wire, url: str) -> Answer:
    """The answer to one request."""
    return wire.send("GET", url, headers={}, body=b"", timeout=(5, 5))


def finished(answer: Answer) -> socket.socket:
    """Be done with an answer; the socket that it came from."""
    answer.read(1 << 16)
    answer.close()
    return answer.sock


def test_other_protocol() -> None:
    """On a connection that speaks another protocol from now on no other request goes out."""
    switched = b"HTTP/1.1 101 Wait\r\n\r\n"
    with peer(lambda sock: sock.sendall(switched)) as address, wired() as wire:
        first = finished(ask(wire, f"http://{address}/one"))
        second = finished(ask(wire, f"http://{address}/two"))

    assert first is not second


def test_closed_twice() -> None:
    """Who closes an answer a second time does not take away the connection from whose turn it is by then."""
    with peer(lambda sock: sock.sendall(FINE)) as address, wired() as wire:
        first = ask(wire, f"http://{address}/one")
        first.close()
        second = ask(wire, f"http://{address}/two")
        first.close()
        third = ask(wire, f"http://{address}/three")

        assert first.sock is second.sock is not third.sock


def test_more_than_announced(certificates: Path) -> None:
    """What TLS has decrypted beyond the length of a body is not taken for the next answer."""

    def script(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
        sock.sendall(b"abc" + FINE)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    with peer(script, tls=context) as address, wired() as wire:
        first = finished(ask(wire, f"https://{address}/one"))
        second = finished(ask(wire, f"https://{address}/two"))

    assert first is not second
