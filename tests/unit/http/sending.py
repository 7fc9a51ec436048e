"""Requests to peers, without the headers that a session adds."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.http.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.http.transport import Answer, Pieces


class Sender:
    """The connections of a process that does not verify certificates."""

    def __init__(self) -> None:
        """Start without connections."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._context, self._transport = context, Transport(dial=5)

    def ask(
        self,
        url: str,
        method: str = "GET",
        *,
        headers: Mapping[str, str | bytes] | None = None,
        body: bytes | Pieces = b"",
        seconds: float = 5.0,
    ) -> Answer:
        """The answer to one request; its body is not read yet."""
        return self._transport.send(
            method,
            url,
            context=self._context,
            headers=headers or {},
            body=body,
            timeout=(seconds, seconds),
        )


@contextmanager
def sending() -> Iterator[Sender]:
    """Connections that are closed at the end."""
    sender = Sender()
    try:
        yield sender
    finally:
        sender._transport._pools.clear()


def finish(answer: Answer) -> bytes:
    """Read an answer to its end, and close it; returns the body."""
    body = answer.read(1 << 20)
    answer.close()
    return body
