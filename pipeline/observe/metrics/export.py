"""Exports metrics: a page that Prometheus scrapes, a file for the node exporter's textfile collector.

Threads of the supervisor process serve the page. They read only the observer's last snapshot.
prometheus-client's own server is not used: it answers every path, so that a probe of /healthz never fails.
"""

from __future__ import annotations

import re
import socket
import socketserver
import threading
import time
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from pipeline.errors import FileError, MachineError, UsageError
from pipeline.log import Event, Once
from pipeline.observe.metrics.run_metrics import RunMetrics
from pipeline.outputs.writing import write_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.scheduler.view import RunView

_ALIVE = 60.0
"""Seconds within which the supervisor's loop must have run."""
_NOTICE = 0.05
"""Seconds in which the server notices that it must stop: the end of the run waits for it."""
_WRITE_EVERY = 30.0
_PATIENCE = 10.0
"""Seconds that a client has to send its request."""
_SUCCESS = re.compile(r"^imagesyncer_run_last_success_timestamp_seconds ([0-9.e+]+)$", re.MULTILINE)


class Exporter:
    """An observer that exports the figures, in one or both ways.

    Args:
        listen: host and port of the page; None: no page.
        path: of the file; None: no file.

    Raises:
        UsageError: the address cannot be used.
        FileError: the collector does not read files of that name.
    """

    def __init__(self, *, listen: tuple[str, int] | None, path: Path | None) -> None:
        """See the class."""
        if path is not None and path.suffix != ".prom":
            raise FileError(str(path), "the textfile collector reads only files whose name ends in .prom")
        self._path = path
        self._gauge = RunMetrics(last_success=_last_success(path))
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self._gauge)
        self._say: Callable[[Event], None] = lambda _event: None
        self._written = time.monotonic()
        self._once = Once()
        self._server = None if listen is None else _MetricsServer(listen, self._registry, self._gauge)

    def begin(self, say: Callable[[Event], None]) -> None:
        """All files have been read: get ready, and log the address."""
        self._say = say
        if self._server is not None:
            self._server.ready = True
            say(
                Event(
                    name="metrics.listening",
                    message=f"metrics: http://{self._server.address}/metrics, /healthz, /readyz",
                    fields={"address": self._server.address},
                )
            )

    def hear(self, event: Event) -> None:
        """Take in what is logged."""
        self._gauge.hear(event)

    def tick(self, view: RunView) -> None:
        """Observe the run; write the file if it is time."""
        self._gauge.tick(view)
        if self._path is not None and time.monotonic() - self._written >= _WRITE_EVERY:
            self._write()

    def end(self, *, succeeded: bool) -> bool:
        """The run is over: write the last figures; returns whether they could be written."""
        self._gauge.end(succeeded=succeeded)
        return self._path is None or self._write()

    def close(self) -> None:
        """Stop the server."""
        if self._server is not None:
            self._server.stop()

    def _write(self) -> bool:
        """Write the file; a failure is logged once."""
        assert self._path is not None
        self._written = time.monotonic()
        try:
            write_text(self._path, [generate_latest(self._registry).decode()])
        except MachineError as error:
            if self._once.first():
                fields = {"file.path": str(self._path), "reason": str(error)}
                message = f"metrics: {error}; the run continues"
                self._say(Event(name="metrics.trouble", level="warning", message=message, fields=fields))
            return False
        return True


class _MetricsServer(socketserver.ThreadingTCPServer):
    """Serves three paths. Not http.server's: that asks the DNS for our own name before it listens."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, listen: tuple[str, int], registry: CollectorRegistry, gauge: RunMetrics) -> None:
        """Listen from now on."""
        host, port = listen
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.registry, self.gauge = registry, gauge
        self.ready = False
        self._began = time.monotonic()
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"--metrics-listen {host}:{port}: {reason}") from error
        serve = partial(self.serve_forever, poll_interval=_NOTICE)
        self._thread = threading.Thread(target=serve, name="metrics", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """`host:port` as bound: the port may have been 0."""
        host, port = self.server_address[:2]
        return f"[{host!s}]:{port}" if self.address_family == socket.AF_INET6 else f"{host!s}:{port}"

    @property
    def is_alive(self) -> bool:
        """Whether the supervisor's loop ran recently."""
        look = self.gauge.look
        return time.monotonic() - (look.at if look else self._began) < _ALIVE

    def stop(self) -> None:
        """Release the port."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect."""


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    server: _MetricsServer
    timeout = _PATIENCE
    server_version = "image-syncer"
    sys_version = ""

    def do_GET(self) -> None:
        """The page, a probe, or 404."""
        match self.path.partition("?")[0]:
            case "/metrics":
                self._answer(200, generate_latest(self.server.registry), CONTENT_TYPE_LATEST)
            case "/healthz":
                self._probe("the loop runs", holds=self.server.is_alive)
            case "/readyz":
                self._probe("rules and credentials are read", holds=self.server.ready)
            case _:
                self._answer(404, b"unknown path; use /metrics, /healthz or /readyz\n")

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def _probe(self, words: str, *, holds: bool) -> None:
        self._answer(200 if holds else 503, f"{'yes' if holds else 'no'}: {words}\n".encode())

    def _answer(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's signature
        """Only the supervisor's loop writes lines."""


def _last_success(path: Path | None) -> float | None:
    """When a run last succeeded, from the earlier file: a failed run must not hide it."""
    if path is None:
        return None
    with suppress(OSError, ValueError):
        found = _SUCCESS.search(path.read_text(encoding="utf-8"))
        return float(found[1]) if found else None
    return None
