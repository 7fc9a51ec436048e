"""Upload sessions: a blob goes in by one PUT with the whole body, or in parts by PATCH and a PUT without.

Most registries take a body that broke off for the end of its session: distribution signs the offset into the
Location, so neither PUT nor PATCH finds it again. What can be gone on from is the end of a part whose answer
was read. Nothing is repeated here: who has the blob's source begins anew.
Source: OCI distribution specification, "Pushing blobs".
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from pipeline.errors import RegistryError, ThrottledError
from pipeline.registry.faults import fault_for
from pipeline.registry.request import Body, Request
from pipeline.registry.request_info import RequestInfo
from pipeline.registry.responses import parse_size, parse_uploaded
from pipeline.registry.session import REDIRECTS, finish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.http.transport import Answer, Pieces
    from pipeline.model.reference import Repository
    from pipeline.registry.authenticated import AuthenticatedClient

_COMMIT_POLLS = (1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0)
"""Seconds between questions after a 202, 60 in all."""
_CANCEL_TAKES = 5.0
"""Seconds until the answer to a DELETE."""
_SERVERS_FAULT = 500


class Upload:
    """One upload session; used by one thread, for one blob.

    Args:
        url: where the registry wants the bytes; opaque, and a secret.
        digest: of the blob.
        refused: whether a mount was asked for and not given.
    """

    def __init__(
        self,
        exchange: AuthenticatedClient,
        repository: Repository,
        *,
        url: str,
        digest: str,
        refused: bool = False,
    ) -> None:
        """See the class."""
        self._exchange, self._repository, self._digest = exchange, repository, digest
        self.url = url
        """The newest address of the session: it changes with each answer."""
        self.refused = refused
        self.least = self.most = 0
        """Bytes of a part, but for the last, at least and at most; 0: the registry did not say."""

    def take_limits(self, headers: Mapping[str, str]) -> None:
        """Note what an answer says of the size of parts."""
        self.least = max(0, parse_size(headers.get("OCI-Chunk-Min-Length", "")))
        self.most = max(0, parse_size(headers.get("OCI-Chunk-Max-Length", "")))

    def put(self, body: Pieces, *, offset: int = 0) -> bool:
        """Send the whole blob, or what is left, and commit it; whether the registry confirmed the digest.

        Args:
            body: the bytes; `len` gives their number. An exception that it raises comes out as it is, and the
                connection is closed, so that nothing is committed.
            offset: bytes that were sent in parts before.

        Raises:
            RegistryError: the blob may or may not be there; `retryable` means in a new session.
            ThrottledError: the registry asks for a pause.
        """
        return self._commit(
            Body(body, self._info("upload the blob")), self._range(body, offset) if offset else {}
        )

    def commit(self) -> bool:
        """End an upload whose bytes were all sent in parts; result and errors as those of `put`."""
        return self._commit(b"", {})

    def patch(self, body: Pieces, *, offset: int | None) -> int:
        """Send a part; returns how many bytes of the blob the registry has.

        Args:
            body: as that of `put`.
            offset: where in the blob it begins; None: it is the whole blob, and no range is stated.

        Raises:
            RegistryError, ThrottledError: the session may or may not live on.
        """
        info = self._info("upload a part of the blob")
        headers = self._range(body, offset) if offset is not None else {}
        call = self._call(info, "PATCH", Body(body, info), headers)
        response = self._ask(call)
        self._follow(call, response)
        begin = offset or 0
        said = parse_uploaded(response.headers.get("Range", ""))
        has = _taken(said, begin=begin, end=begin + len(body))
        if has > begin + len(body):
            words = f"the registry says that it has {has} bytes, {begin + len(body)} were sent"
            raise RegistryError(fault_for(info, words=words, code="SIZE_INVALID", retryable=True))
        return has

    def ask_offset(self, *, least: int, most: int) -> int | None:
        """How many bytes the session has, by its own word; None: it is gone, or what it says cannot be.

        It has more than it confirmed where a body broke off that distribution 3, Gitea and others keep as far
        as it came. Quay says one byte too many here; the digest of the whole tells a wrong guess.

        Args:
            least: bytes that the registry has confirmed before.
            most: bytes of the whole blob; -1: not known.

        Raises:
            RegistryError: no answer came, or one that says nothing of the session (5xx).
        """
        call = self._call(self._info("go on with the upload of the blob"), "GET", b"", {})
        try:
            response = self._ask(call)
        except ThrottledError:
            raise
        except RegistryError as error:
            if error.fault.status is None or error.fault.status >= _SERVERS_FAULT:
                raise
            return None
        self._follow(call, response)
        has = parse_uploaded(response.headers.get("Range", ""))
        if has is None:
            return None
        has -= has in {least + 1, most + 1}
        return has if least <= has <= max(least, most) else None

    def cancel(self) -> bool:
        """Give the session up; whether the registry let us: many ask for a right to delete, all clean up.

        It may take seconds, never more: nobody depends on it.
        """
        call = self._call(self._info("cancel the upload of the blob"), "DELETE", b"", {})
        with suppress(RegistryError):
            self._ask(replace(call, patience=_CANCEL_TAKES))
            return True
        return False

    def _info(self, verb: str) -> RequestInfo:
        return RequestInfo(operation=f"{verb} {self._digest}", kind="send", repository=self._repository)

    @staticmethod
    def _range(body: Pieces, offset: int) -> dict[str, str]:
        return {"Content-Range": f"{offset}-{offset + len(body) - 1}"}

    def _call(
        self, info: RequestInfo, method: str, body: bytes | Body, headers: Mapping[str, str]
    ) -> Request:
        content = {"Content-Type": "application/octet-stream"} if method in ("PUT", "PATCH") else {}
        patience = self._exchange.settings.timeouts.commit if content else 0.0
        return Request(
            info=info,
            method=method,
            url=self.url,
            headers=content | dict(headers),
            body=body,
            patience=patience,
        )

    def _ask(self, call: Request) -> Answer:
        """Send it once, read the answer to its end, and see that it did not come too early."""
        response = self._exchange.ask(call, once=True)
        finish(response)
        if isinstance(call.body, Body) and not call.body.complete:
            words = "the registry said that all is well before it had all"
            raise RegistryError(fault_for(call.info, words=words, code="CONNECTION_LOST", retryable=True))
        return response

    def _follow(self, call: Request, response: Answer) -> None:
        """Take the session's newest address; some answers have none."""
        self.url = self._exchange.locate(call, response) or self.url

    def _commit(self, body: bytes | Body, headers: Mapping[str, str]) -> bool:
        info = self._info("upload the blob")
        call = self._call(info, "PUT", body, headers)
        query = f"{'&' if urlsplit(self.url).query else '?'}digest={quote(self._digest, safe='')}"
        response = self._ask(replace(call, url=self.url + query))
        if response.status_code == HTTPStatus.ACCEPTED:
            self._await_commit(info, self._digest)
            return False
        return confirms(info, response, digest=self._digest)

    def _await_commit(self, info: RequestInfo, digest: str) -> None:
        """A 202 means that the registry still works on it: ask until the blob is there."""
        url = f"/v2/{self._repository.path}/blobs/{digest}"
        head = Request(
            info=RequestInfo(operation=info.operation, kind="read", repository=self._repository),
            method="HEAD",
            url=url,
            follow=False,
        )
        for wait in _COMMIT_POLLS:
            response = self._exchange.ask(head, also=REDIRECTS | {404})
            finish(response)
            if response.status_code != HTTPStatus.NOT_FOUND:
                return
            time.sleep(wait)
        words = "the registry took the blob, but does not show it after 60 s"
        raise RegistryError(fault_for(info, words=words, code="TIMEOUT", retryable=True))


def _taken(said: int | None, *, begin: int, end: int) -> int:
    """Bytes that a registry has after a part, by its word, which is read with care.

    Nothing said means all of it. Quay counts one too many. ECR's word stays at the end of the first part
    (aws/containers-roadmap#2831). distribution says `0-0` of one byte and of none.
    """
    if said is None or 0 < said <= begin or said == end + 1:
        return end
    return 0 if said == 1 < end else said


def confirms(info: RequestInfo, response: Answer, *, digest: str) -> bool:
    """Whether the answer names the digest of what was stored; another algorithm's digest says nothing.

    Raises:
        RegistryError: DIGEST_MISMATCH: the registry stored something else.
    """
    stored = response.headers.get("Docker-Content-Digest", "").strip()
    if stored.partition(":")[0] != digest.partition(":")[0]:
        return False
    if stored != digest:
        words = f"the registry stored it as {stored}"
        hint = "a registry or proxy that rewrites content cannot hold exact copies"
        raise RegistryError(fault_for(info, words=words, code="DIGEST_MISMATCH", hint=hint))
    return True
