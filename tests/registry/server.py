"""Listeners and threads: one thread per connection reads requests, performs faults, sends answers.

The second address is another host: it serves redirects, upload Locations and token realms that point to it,
if the options say so. A plain accept loop stops at once, whereas socketserver polls.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tests.registry import api, blobs
from tests.registry.control import PREFIX, answer_control
from tests.registry.faults import Drop, Reply, Stall, shape
from tests.registry.log import Entry
from tests.registry.wire import Body, Connection, Response

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Sequence

    from tests.registry.faults import Action
    from tests.registry.registry import Registry
    from tests.registry.wire import Head

_JOIN = 10.0
_DRAIN = 10.0
_NOTHING = Body(b"", 0, "", whole=True)


class _Hangup(Exception):  # noqa: N818  no error: the script says so
    """Close this connection now."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


class Server:
    """The sockets of one registry."""

    def __init__(
        self, registry: Registry, *, addresses: Sequence[tuple[str, int]], tls: ssl.SSLContext | None
    ) -> None:
        """Bind; see Registry."""
        self.errors: list[str] = []
        self.scheme = "https" if tls else "http"
        self._registry = registry
        self._tls = tls
        self._reserved = [_bind(*address) for address in addresses]
        self._places = [each.getsockname() for each in self._reserved]
        self.addresses = [f"{host}:{port}" for host, port in self._places]
        self._listeners = [_listen(*place) for place in self._places]
        self._numbers = itertools.count(1)
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._stopping = self._suspended = False

    def start(self) -> None:
        """Serve."""
        for number, listener in enumerate(self._listeners):
            self._spawn(self._accept, listener, bool(number))

    def suspend(self) -> None:
        """Break every connection and refuse new ones, like a server that was killed."""
        with self._lock:
            self._suspended = True
            doomed = [*self._listeners, *self._open]
        for each in doomed:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for listener in self._listeners:
            listener.close()

    def resume(self) -> None:
        """Serve again at the same addresses, which stayed reserved."""
        with self._lock:
            if self._stopping:
                return
            self._suspended = False
            self._listeners = [_listen(*place) for place in self._places]
        self.start()

    def stop(self) -> None:
        """Close everything and wait for the threads."""
        with self._lock:
            self._stopping = True
            doomed = [*self._listeners, *self._open]
            threads = list(self._threads)
        self.release()
        for each in doomed:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(_JOIN)
        for listener in (*self._listeners, *self._reserved):
            listener.close()

    def release(self) -> None:
        """End the present stalls and pauses."""
        with self._lock:
            self._released.set()
            if not self._stopping:
                self._released = threading.Event()

    def _spawn(self, target: Callable[..., None], *arguments: Any) -> None:
        def run() -> None:
            try:
                target(*arguments)
            finally:
                with self._lock:
                    self._threads.discard(thread)

        thread = threading.Thread(target=run, daemon=True, name=f"registry {self.addresses[0]}")
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _accept(self, listener: socket.socket, elsewhere: bool) -> None:  # noqa: FBT001  passed through _spawn
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                if self._stopping or self._suspended:
                    accepted.close()
                    return
                self._open.add(accepted)
            self._spawn(self._serve, accepted, elsewhere)

    def _serve(self, accepted: socket.socket, elsewhere: bool) -> None:  # noqa: FBT001  passed through _spawn
        number = next(self._numbers)
        wrapped, connection, reset = accepted, None, False
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                wrapped = self._tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
                with self._lock:
                    self._open.add(wrapped)
                wrapped.do_handshake()
            connection = Connection(wrapped)
            while head := connection.read_head():
                self._exchange(connection, head, number=number, elsewhere=elsewhere)
        except _Hangup as hangup:
            reset = hangup.reset
        except (OSError, ValueError):
            pass  # the other side is gone, or does not speak HTTP
        except Exception:  # noqa: BLE001  a test asks for these
            self.errors.append(traceback.format_exc())
        finally:
            with self._lock:
                self._open -= {accepted, wrapped}
            connection = Connection(wrapped) if connection is None else connection
            connection.close(reset=reset)

    def _exchange(self, connection: Connection, head: Head, *, number: int, elsewhere: bool) -> None:
        """One request and its answer; _Hangup ends the connection."""
        path, _, query = head.target.partition("?")
        if path.startswith(PREFIX):
            response = answer_control(self._registry, path, connection.read_body(head).content)
            connection.send(response, pieces=(response.body,))
            return
        released = self._released
        entry = Entry(
            method=head.method,
            target=head.target,
            path=unquote(path),
            query=query,
            headers=head.headers,
            elsewhere=elsewhere,
            connection=number,
        )
        self._registry.log.begin(entry)
        try:
            action = self._registry.faults.take(entry)
            self._break_early(connection, head, entry, action)
            body = self._read(connection, head, entry)
            response = self._answer(entry, body, action, released)
            self._registry.log.finish(entry, status=response.status)
            self._send(connection, entry, response, action, released)
        finally:
            self._registry.log.finish(entry)
        if isinstance(action, Reply) and action.closing != "keep":
            _end(connection, action)
        if "close" in head.headers.get("connection", "").lower():
            raise _Hangup

    def _break_early(self, connection: Connection, head: Head, entry: Entry, action: Action | None) -> None:
        """The action before the body is read."""
        match action:
            case Reply(early=True, read=read):
                _note(entry, connection.read_body(head, keep=False, limit=read))
                self._registry.log.finish(entry, status=action.status)
                response = _reply(action)
                connection.send(response, pieces=(response.body,), close=True)
                _end(connection, action)
            case Drop(read=int(read), perform=False, after=None, reset=reset):
                session = blobs.session_of(head.target)
                body = connection.read_body(head, keep=session is not None, limit=read)
                _note(entry, body)
                if session and body.length:
                    blobs.broke_off(self._call(entry, body), *session)
                raise _Hangup(reset=reset)

    def _read(self, connection: Connection, head: Head, entry: Entry) -> Body:
        if head.method in ("GET", "HEAD") and "content-length" not in head.headers:
            return _NOTHING
        session = blobs.session_of(head.target)
        keep = session is None or not self._registry.options.sink
        body = connection.read_body(head, keep=keep)
        _note(entry, body)
        if not body.whole:
            if session:
                blobs.broke_off(self._call(entry, body), *session)
            raise _Hangup
        return body

    def _call(self, entry: Entry, body: Body) -> api.Request:
        registry = self._registry
        return api.Request(
            entry=entry,
            body=body,
            options=registry.options,
            store=registry.store,
            access=registry.access,
            scheme=self.scheme,
            address=self.addresses[0],
            elsewhere=registry.options.elsewhere_as or self.addresses[1],
        )

    def _answer(self, entry: Entry, body: Body, action: Action | None, released: threading.Event) -> Response:
        match action:
            case Reply():
                return _reply(action)
            case Drop(perform=False, after=None, reset=reset):
                raise _Hangup(reset=reset)
            case Stall(after=None, seconds=seconds):
                released.wait(seconds)
        try:
            response = api.answer(self._call(entry, body))
        except Exception:  # noqa: BLE001  a failure of the registry is an answer too, and a test asks for it
            self.errors.append(traceback.format_exc())
            response = Response(status=500, body=b"the scripted registry failed")
        if isinstance(action, Drop) and action.after is None:
            raise _Hangup(reset=action.reset)
        return response

    def _send(
        self,
        connection: Connection,
        entry: Entry,
        response: Response,
        action: Action | None,
        released: threading.Event,
    ) -> None:
        pieces: Iterable[bytes] = (response.body,) if response.stream is None else response.stream
        drop = action if isinstance(action, Drop) else None
        connection.send(
            response,
            pieces=self._registry.log.count_sent(shape(pieces, action, released.wait)),
            framing=drop.framing if drop else "length",
            bodyless=entry.method == "HEAD",
        )
        if drop:
            raise _Hangup(reset=drop.reset)


def _reply(action: Reply) -> Response:
    return Response(status=action.status, headers=dict(action.headers), body=action.body.encode())


def _note(entry: Entry, body: Body) -> None:
    entry.length, entry.sha256 = body.length, body.sha256


def _end(connection: Connection, action: Reply) -> None:
    if action.closing == "drain":
        connection.drain(_DRAIN)
    raise _Hangup(reset=action.closing == "reset")


def _bind(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host, port))
    return bound


def _listen(host: str, port: int) -> socket.socket:
    listener = _bind(host, port)
    listener.listen(256)
    return listener
