"""Upload sessions: one PUT with the whole blob, or PATCHes with its parts and a PUT.

Most registries end a session whose body broke off: distribution signs the offset into the Location, so
neither PUT nor PATCH finds it again. An upload can only resume at the end of a part whose answer was read.
Source: OCI distribution specification, "Pushing blobs".
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from pipeline.errors import OperationError, RegistryError
from pipeline.registry.faults import fault_for
from pipeline.registry.request import Body, Request
from pipeline.registry.responses import parse_size, parse_uploaded
from pipeline.registry.session import REDIRECTS, finish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.http.transport import Answer, Pieces
    from pipeline.model.reference import Repository
    from pipeline.registry.authenticated import AuthenticatedClient
    from pipeline.registry.request_info import RequestInfo

_COMMIT_POLLS = (1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0)
"""Seconds between checks after a 202, 60 in total."""
_CANCEL_TAKES = 5.0
"""Seconds to wait for the answer to a DELETE."""


class Upload:
    """See UploadSession.

    Args:
        client: of its registry.
        repository: of the blob.
        url: where the registry wants the bytes.
        digest: the blob's.
        refused: whether the registry refused a mount.
    """

    def __init__(
        self,
        client: AuthenticatedClient,
        repository: Repository,
        *,
        url: str,
        digest: str,
        refused: bool = False,
    ) -> None:
        """See the class."""
        self._client, self._repository, self._digest = client, repository, digest
        self.url, self.refused = url, refused
        self.least = self.most = 0

    def take_limits(self, headers: Mapping[str, str]) -> None:
        """Read the limits for parts from an answer."""
        self.least = max(0, parse_size(headers.get("OCI-Chunk-Min-Length", "")))
        self.most = max(0, parse_size(headers.get("OCI-Chunk-Max-Length", "")))

    def put(self, body: Pieces, *, offset: int = 0) -> bool:
        """See UploadSession; a retryable error means a new session."""
        return self._commit(
            Body(body, self._info("upload the blob")), self._range(body, offset) if offset else {}
        )

    def commit(self) -> bool:
        """See UploadSession."""
        return self._commit(b"", {})

    def patch(self, body: Pieces, *, offset: int | None) -> int:
        """See UploadSession."""
        info = self._info("upload a part of the blob")
        headers = self._range(body, offset) if offset is not None else {}
        call = self._call(info, "PATCH", Body(body, info), headers)
        response = self._ask(call)
        self._follow(call, response)
        begin = offset or 0
        said = parse_uploaded(response.headers.get("Range", ""))
        has = _taken(said, begin=begin, end=begin + len(body))
        if has > begin + len(body):
            words = f"the registry reports {has} bytes, but {begin + len(body)} were sent"
            raise RegistryError(fault_for(info, words=words, code="SIZE_INVALID", retryable=True))
        return has

    def ask_offset(self, *, least: int, most: int) -> int | None:
        """See UploadSession. A wrong offset is detected by the digest.

        The registry may have more than it confirmed: distribution 3, Gitea and others keep what arrived of a
        body that broke off. Quay reports one byte too many.

        Raises:
            RegistryError: no answer, or one that says nothing about the session (5xx).
        """
        call = self._call(self._info("resume the upload of the blob"), "GET", b"", {})
        try:
            response = self._ask(call)
        except RegistryError as error:
            if error.fault.status is None or error.fault.is_server_error:
                raise
            return None
        self._follow(call, response)
        has = parse_uploaded(response.headers.get("Range", ""))
        if has is None:
            return None
        has -= has in {least + 1, most + 1}
        return has if least <= has <= max(least, most) else None

    def cancel(self) -> bool:
        """See UploadSession; many registries require a right to delete. Takes 5 s at most."""
        call = self._call(self._info("cancel the upload of the blob"), "DELETE", b"", {})
        with suppress(OperationError):
            self._ask(replace(call, patience=_CANCEL_TAKES))
            return True
        return False

    def _info(self, verb: str) -> RequestInfo:
        return self._client.info(f"{verb} {self._digest}", "send", self._repository)

    @staticmethod
    def _range(body: Pieces, offset: int) -> dict[str, str]:
        return {"Content-Range": f"{offset}-{offset + len(body) - 1}"}

    def _call(
        self, info: RequestInfo, method: str, body: bytes | Body, headers: Mapping[str, str]
    ) -> Request:
        content = {"Content-Type": "application/octet-stream"} if method in ("PUT", "PATCH") else {}
        patience = self._client.settings.timeouts.commit if content else 0.0
        return Request(
            info=info,
            method=method,
            url=self.url,
            headers=content | dict(headers),
            body=body,
            patience=patience,
        )

    def _ask(self, call: Request) -> Answer:
        """Send it once and read the whole answer, which must not arrive before the body was sent."""
        response = self._client.ask(call, once=True)
        finish(response)
        if isinstance(call.body, Body) and not call.body.complete:
            words = "the registry reported success before it had the whole body"
            raise RegistryError(fault_for(call.info, words=words, code="CONNECTION_LOST", retryable=True))
        return response

    def _follow(self, call: Request, response: Answer) -> None:
        """Update the session's URL; some answers have none."""
        self.url = self._client.locate(call, response) or self.url

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
        """After a 202 the registry still processes the blob: ask until it is there."""
        url = f"/v2/{self._repository.path}/blobs/{digest}"
        head = Request(
            info=replace(info, kind="read"),
            method="HEAD",
            url=url,
            follow=False,
        )
        for wait in _COMMIT_POLLS:
            response = self._client.ask(head, also=REDIRECTS | {404})
            finish(response)
            if response.status_code != HTTPStatus.NOT_FOUND:
                return
            time.sleep(wait)
        words = "the registry accepted the blob, but does not have it after 60 s"
        raise RegistryError(fault_for(info, words=words, code="TIMEOUT", retryable=True))


def _taken(said: int | None, *, begin: int, end: int) -> int:
    """Bytes that a registry has after a part from `begin` to `end`, by its Range.

    No Range means all. Quay counts one too many, ECR always reports the end of the first part
    (aws/containers-roadmap#2831), and distribution says `0-0` for one byte and for none.
    """
    if said is None or 0 < said <= begin or said == end + 1:
        return end
    return 0 if said == 1 < end else said


def confirms(info: RequestInfo, response: Answer, *, digest: str) -> bool:
    """Whether the answer confirms the digest; one of another algorithm neither confirms nor contradicts.

    Raises:
        RegistryError: DIGEST_MISMATCH: the registry stored something else.
    """
    stored = response.headers.get("Docker-Content-Digest", "").strip()
    if stored.partition(":")[0] != digest.partition(":")[0]:
        return False
    if stored != digest:
        words = f"the registry stored it as {stored}"
        hint = "the registry or a proxy rewrites content, so it cannot hold exact copies"
        raise RegistryError(fault_for(info, words=words, code="DIGEST_MISMATCH", hint=hint))
    return True
