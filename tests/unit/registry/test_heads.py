"""Heads of answers are read as http.client reads them, but for one that breaks off."""

from __future__ import annotations

import http.client
import io
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.registry.connections import _Head

if TYPE_CHECKING:
    import socket


class _Socket:
    def __init__(self, sent: bytes) -> None:
        self._sent = sent

    def makefile(self, mode: str) -> io.BytesIO:
        assert mode == "rb"
        return io.BytesIO(self._sent)


def read(kind: type[http.client.HTTPResponse], sent: bytes, method: str) -> dict[str, Any]:
    """What a class makes of the bytes of an answer."""
    response = kind(cast("socket.socket", _Socket(sent)), method=method)
    response.begin()
    return {
        "status": response.status,
        "reason": response.reason,
        "version": response.version,
        "fields": [(name.lower(), " ".join(value.split())) for name, value in response.getheaders()],
        "length": response.length,
        "chunked": response.chunked,
        "closes": response.will_close,
    }


TOKEN = st.text(st.sampled_from("abcXYZ019-_"), min_size=1, max_size=12)
VALUE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30)
FIELD = st.one_of(
    st.tuples(TOKEN, VALUE),
    st.tuples(st.just("Content-Length"), st.sampled_from(["0", "17", "-1", "x", ""])),
    st.tuples(st.just("Transfer-Encoding"), st.sampled_from(["chunked", "Chunked", "gzip"])),
    st.tuples(st.just("Connection"), st.sampled_from(["close", "keep-alive"])),
    st.tuples(st.just("Link"), st.just('<a>;\r\n rel="next"')),
)


@given(
    st.sampled_from([200, 201, 204, 304, 401, 404, 503]),
    st.lists(FIELD, max_size=8),
    st.sampled_from(["GET", "HEAD", "PUT"]),
    st.sampled_from(["1.1", "1.0"]),
)
def test_like_the_library(status: int, fields: list[tuple[str, str]], method: str, version: str) -> None:
    """Any sound head means what http.client takes it for."""
    lines = [f"HTTP/{version} {status} Some reason", *(f"{name}: {value}" for name, value in fields), "", ""]
    sent = "\r\n".join(lines).encode()

    assert read(http.client.HTTPResponse, sent, method) == read(_Head, sent, method)


def test_interim() -> None:
    """An interim answer is passed over."""
    sent = b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"

    assert 201 == read(_Head, sent, "PUT")["status"]


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", http.client.RemoteDisconnected),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5", http.client.RemoteDisconnected),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * (1 << 16) + b"\r\n\r\n", http.client.LineTooLong),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 101 + b"\r\n", http.client.HTTPException),
        (b"HTTP/2 200 OK\r\n\r\n", http.client.UnknownProtocol),
    ],
)
def test_unsound(sent: bytes, error: type[Exception]) -> None:
    """A head that breaks off, or is larger than any registry's, is an error."""
    with pytest.raises(error):
        read(_Head, sent, "GET")
