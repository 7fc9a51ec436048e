"""A request to a registry, and a streamed body."""

from __future__ import annotations

from dataclasses import field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.errors import RegistryError
from pipeline.registry.faults import fault_for
from pipeline.registry.meter import current_meter
from pipeline.registry.pacing import PACER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.http.connection import Piece
    from pipeline.http.transport import Pieces
    from pipeline.registry.request_info import RequestInfo

_TRAVELLING = ("Accept", "Content-Type", "Range", "If-Range")
"""Headers that are sent to another origin too: registry.k8s.io redirects each request for a manifest, and
storage refuses headers that it did not sign."""


class BodyError(Exception):
    """Wraps an exception of the caller's iterable: the HTTP stack would swallow some."""

    def __init__(self, what: Exception) -> None:
        """`what`: the exception."""
        super().__init__()
        self.what = what


class Body:
    """A streamed body. It is sent once; if it is incomplete, its connection is closed."""

    def __init__(self, pieces: Pieces, info: RequestInfo) -> None:
        """`info`: of the request."""
        self._pieces, self._info = pieces, info
        self._size = len(pieces)
        self.complete = False
        """Whether the connection has all of it."""

    def __len__(self) -> int:
        """The number of bytes."""
        return self._size

    def __iter__(self) -> Iterator[Piece]:
        """The pieces; never too many bytes: the server would read them as the next request."""
        meter, sent, registry = current_meter(), 0, self._info.repository.registry
        try:
            for piece in self._pieces:
                sent += len(piece)
                self._check(sent <= self._size, sent)
                for part in PACER.parts(registry, "written", piece):
                    yield part
                    meter.written += len(part)
            self._check(sent == self._size, sent)
        except Exception as error:
            raise BodyError(error) from error
        self.complete = True

    def _check(self, right: bool, sent: int) -> None:  # noqa: FBT001 - private, two calls
        if not right:
            words = f"the body has {sent} bytes or more, but {self._size} were announced"
            raise RegistryError(fault_for(self._info, words=words, code="SIZE_MISMATCH"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request."""

    info: RequestInfo
    method: str
    url: str
    """Path and query at the registry, or an absolute URL from a registry."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Body = b""
    authorization: bytes = field(default=b"", repr=False)
    """For the origin of `url` only."""
    scope: str = ""
    """The scope that a token needs; empty: that of the repository in `info`."""
    insecure: bool = False
    follow: bool = True
    """Whether to follow redirects; never with a streamed body."""
    stay: bool = False
    """Whether a redirect to another origin is the answer."""
    patience: float = 0.0
    """Seconds until the answer must begin; 0: the default."""
    fresh: bool = False
    """Whether to use a new connection: one address may have several different servers."""

    def redirected(self, status: int, *, leaves: bool) -> Request:
        """The request after a redirect; `leaves`: to another origin, which gets no credentials."""
        call = self
        if status == HTTPStatus.SEE_OTHER and call.method != "HEAD":
            kept = {name: value for name, value in call.headers.items() if name != "Content-Type"}
            call = replace(call, method="GET", body=b"", headers=kept)
        if leaves:
            kept = {name: call.headers[name] for name in _TRAVELLING if name in call.headers}
            call = replace(call, headers=kept, authorization=b"")
        return call
