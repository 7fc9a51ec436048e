"""What is sent to a registry: a request, and the body that it streams."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pipeline.errors import RegistryError
from pipeline.registry.faults import fault_for
from pipeline.registry.meter import current_meter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.http.connection import Piece
    from pipeline.http.transport import Pieces
    from pipeline.registry.request_info import RequestInfo

_SEE_OTHER = 303
_TRAVELLING = ("Accept", "Content-Type", "Range", "If-Range")
"""Headers that go along to another origin: registry.k8s.io redirects each request for a manifest, and storage
refuses requests that carry more than it signed."""


class BodyError(Exception):
    """What the caller's iterable raised (the cause), on its way through a stack that swallows some errors."""

    def __init__(self, what: Exception) -> None:
        """Carry `what`."""
        super().__init__()
        self.what = what


class Body:
    """A body that is streamed; sent once, in full, or its connection does not survive."""

    def __init__(self, pieces: Pieces, info: RequestInfo) -> None:
        """Wrap `pieces`."""
        self._pieces, self._info = pieces, info
        self._size = len(pieces)
        self.complete = False
        """Whether all was handed to the connection."""

    def __len__(self) -> int:
        """Bytes in all."""
        return self._size

    def __iter__(self) -> Iterator[Piece]:
        """The pieces, never more bytes than announced: the server would read them as the next request."""
        meter, sent = current_meter(), 0
        try:
            for piece in self._pieces:
                sent += len(piece)
                self._check(sent <= self._size, sent)
                yield piece
                meter.written += len(piece)
            self._check(sent == self._size, sent)
        except Exception as error:
            raise BodyError(error) from error
        self.complete = True

    def _check(self, right: bool, sent: int) -> None:  # noqa: FBT001 - private, two calls
        if not right:
            words = f"the body has {sent} bytes or more, {self._size} were announced"
            raise RegistryError(fault_for(self._info, words=words, code="SIZE_MISMATCH"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request."""

    info: RequestInfo
    method: str
    url: str
    """Path and query at the registry, or an absolute URL that a registry handed out."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Body = b""
    authorization: bytes = field(default=b"", repr=False)
    """For the origin of `url`; it never goes along with a redirect to another one."""
    insecure: bool = False
    follow: bool = True
    """Whether redirects are followed; those of a streamed body never are."""
    stay: bool = False
    """Whether a redirect to another origin is not followed, but the answer."""
    patience: float = 0.0
    """Seconds until the answer must begin; 0: the usual time."""
    fresh: bool = False
    """Whether it goes out on a new connection: behind one address may be servers that differ."""

    def redirected(self, status: int, *, leaves: bool) -> Request:
        """The request after a redirect; `leaves`: to another origin, where nobody may learn who we are."""
        call = self
        if status == _SEE_OTHER and call.method != "HEAD":
            kept = {name: value for name, value in call.headers.items() if name != "Content-Type"}
            call = replace(call, method="GET", body=b"", headers=kept)
        if leaves:
            kept = {name: call.headers[name] for name in _TRAVELLING if name in call.headers}
            call = replace(call, headers=kept, authorization=b"")
        return call
