"""The cost of single requests in this process, for one source tree and another, measured in turn.

    python -m scripts.bench.micro --tree BEFORE --tree AFTER [--rounds 5] [--only HEAD,GET]

Each round runs each tree once, in a process of its own, against a server that only returns bytes: only the
client differs. The results are medians of CPU microseconds a request (seconds a gigabyte for the large
body).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.registry.client import Client

_ROOT = Path(__file__).resolve().parents[2]
_SMALL = 100_000
_LARGE = 256 << 20
_PIECE = 1 << 20
_TIMES = 2_000
_DIGEST = f"sha256:{'1' * 64}"
_FIELDS = (
    b"Docker-Content-Digest: " + _DIGEST.encode() + b"\r\nDocker-Distribution-Api-Version: registry/2.0\r\n"
    b"Content-Type: application/vnd.oci.image.manifest.v1+json\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    b'Etag: "' + _DIGEST.encode() + b'"\r\nX-Content-Type-Options: nosniff\r\n'
)


class _Body:
    """A streamed body."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        piece = bytes(min(self._size, _PIECE))
        for _ in range(self._size // len(piece)):
            yield piece


def _serve(sock: socket.socket) -> None:
    """Answer the cases below with as little work as possible in Python."""
    small = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (_FIELDS, _SMALL) + bytes(_SMALL)
    head = small[:-_SMALL]
    begun = (
        b"HTTP/1.1 202 Accepted\r\nLocation: /v2/a/blobs/uploads/1\r\n%bContent-Length: 0\r\n\r\n" % _FIELDS
    )
    stored = b"HTTP/1.1 201 Created\r\n%bContent-Length: 0\r\n\r\n" % _FIELDS
    large = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (_FIELDS, _LARGE)
    piece, received = bytes(_PIECE), bytearray()
    buffer = memoryview(bytearray(1 << 18))
    while True:
        while b"\r\n\r\n" not in received:
            count = sock.recv_into(buffer)
            if not count:
                return
            received += buffer[:count]
        asked, _, rest = bytes(received).partition(b"\r\n\r\n")
        received = bytearray()
        if asked.startswith(b"HEAD"):
            sock.sendall(head)
        elif asked.startswith(b"POST"):
            sock.sendall(begun)
        elif asked.startswith(b"PUT"):
            left = _SMALL - len(rest)
            while left > 0:
                left -= sock.recv_into(buffer)
            sock.sendall(stored)
        elif b"large" in asked:
            sock.sendall(large)
            for _ in range(_LARGE // _PIECE):
                sock.sendall(piece)
        else:
            sock.sendall(small)


def _run_server(certificate: str) -> None:
    """Serve on two ports, the second with TLS; print them; stop when standard input ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]

    def handle(sock: socket.socket, *, tls: bool) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _serve(context.wrap_socket(sock, server_side=True) if tls else sock)
        except OSError:
            pass

    def accept(server: socket.socket, *, tls: bool) -> None:
        while True:
            sock, _ = server.accept()
            threading.Thread(target=handle, args=(sock,), kwargs={"tls": tls}, daemon=True).start()

    for number, server in enumerate(servers):
        threading.Thread(target=accept, args=(server,), kwargs={"tls": number == 1}, daemon=True).start()
    print(*(server.getsockname()[1] for server in servers), flush=True)
    sys.stdin.read()


def _ask(port: int, scheme: str) -> tuple[Client, str]:
    """A client from the tree that this process imports, and the server's address."""
    from pipeline.model.credential import Credential  # noqa: PLC0415 - of the tree that PYTHONPATH names
    from pipeline.registry.clients import Clients  # noqa: PLC0415 - likewise
    from pipeline.settings import Settings  # noqa: PLC0415 - likewise

    address = f"127.0.0.1:{port}"
    clients = Clients(Settings(), lambda _: Credential(origin="none", insecure=True))
    client = clients.at(address, push=True)
    client._session._schemes[True] = scheme  # noqa: SLF001 - the server is no registry that says so
    return client, address


def _measure(ports: tuple[int, int], wanted: set[str]) -> dict[str, float]:
    """The cost of each case."""
    from pipeline.model.reference import Repository  # noqa: PLC0415 - of the tree that PYTHONPATH names

    plain, secure = _ask(ports[0], "http"), _ask(ports[1], "https")

    def head(to: tuple[Client, str] = plain) -> None:
        to[0].head_blob(Repository(to[1], "a/b"), _DIGEST)

    def get(to: tuple[Client, str], path: str, size: int) -> None:
        with to[0].open_blob(Repository(to[1], path), _DIGEST, size=size) as body:
            deque(body, maxlen=0)

    def upload() -> None:
        session = plain[0].begin_upload(Repository(plain[1], "a/b"), _DIGEST)
        assert session
        session.put(_Body(_SMALL))

    def threads() -> None:
        workers = [threading.Thread(target=lambda: deque(map(head, [plain] * 125), 0)) for _ in range(16)]
        deque(map(threading.Thread.start, workers), 0)
        deque(map(threading.Thread.join, workers), 0)

    cases: dict[str, tuple[Callable[[], None], int, float]] = {
        "HEAD": (head, _TIMES, 1e6),
        "HEAD TLS": (lambda: head(secure), _TIMES, 1e6),
        "GET 100 kB": (lambda: get(plain, "a/b", _SMALL), _TIMES // 2, 1e6),
        "POST + PUT 100 kB": (upload, _TIMES // 2, 1e6),
        "HEAD, 16 threads": (threads, 1, 1e6 / 2_000),
        "256 MiB": (lambda: get(plain, "large", _LARGE), 2, 1e9 / _LARGE),
        "256 MiB TLS": (lambda: get(secure, "large", _LARGE), 1, 1e9 / _LARGE),
    }
    return {
        name: _cost(act, times) * unit
        for name, (act, times, unit) in cases.items()
        if not wanted or name in wanted
    }


def _cost(act: Callable[[], None], times: int) -> float:
    """CPU seconds of this process, each time."""
    act()
    began = time.process_time()
    for _ in range(times):
        act()
    return (time.process_time() - began) / times


def _certify(folder: Path) -> Path:
    """A certificate and its key in one file."""
    pair = folder / "pair.pem"
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    files = ("-keyout", str(pair), "-out", str(folder / "only.crt"))
    command = ("openssl", "req", "-x509", *kind, *files, "-subj", "/CN=localhost")
    subprocess.run(command, check=True, capture_output=True)
    pair.write_text(pair.read_text() + (folder / "only.crt").read_text())
    return pair


def _compare(trees: list[Path], rounds: int, only: str) -> dict[str, list[float]]:
    found: dict[str, list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(_certify(Path(folder)))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdin
        assert server.stdout
        ports = server.stdout.readline().split()
        for number in range(rounds):
            order = range(len(trees)) if number % 2 == 0 else reversed(range(len(trees)))
            for index in order:
                environment = {**os.environ, "PYTHONPATH": str(trees[index])}
                command = [sys.executable, __file__, "--ask", *ports, "--only", only]
                said = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
                for name, cost in json.loads(said.stdout).items():
                    found.setdefault(name, [[] for _ in trees])[index].append(cost)
        server.stdin.close()
        server.wait(10)
    return {name: [median(costs) for costs in columns] for name, columns in found.items()}


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tree", type=Path, action="append", help="a folder that holds pipeline/")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="names of cases, with commas between them")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--ask", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments: Any = parser.parse_args()
    if arguments.serve:
        _run_server(arguments.serve)
    elif arguments.ask:
        print(json.dumps(_measure(tuple(arguments.ask), set(filter(None, arguments.only.split(","))))))
    else:
        trees = [path.resolve() for path in arguments.tree or [_ROOT]]
        for name, costs in _compare(trees, arguments.rounds, arguments.only).items():
            shown = "".join(f"{cost:12.3f}" if "MiB" in name else f"{cost:12.1f}" for cost in costs)
            print(f"{name:20}{shown}   {'s/GB' if 'MiB' in name else 'us'}")


if __name__ == "__main__":
    _main()
