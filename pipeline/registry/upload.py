"""Upload sessions: a blob goes in by one PUT with the whole body, which works nearly everywhere.

A session is used up by any failure that is not understood: distribution signs the offset into its Location,
so after a broken body neither PUT nor PATCH finds it again. Nothing is repeated here: who has the blob's
source begins anew. Source: OCI distribution specification, "Pushing blobs".
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import requests

from pipeline.errors import RegistryError
from pipeline.registry.faults import Purpose, fault_for
from pipeline.registry.session import REDIRECTS, Body, Call, finish

if TYPE_CHECKING:
    from pipeline.model.reference import Repository
    from pipeline.registry.exchange import Exchange
    from pipeline.registry.session import Pieces
    from pipeline.registry.wire import Answer

_COMMIT_POLLS = (1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0)
"""Seconds between questions after a 202, 60 in all."""


class Upload:
    """One upload session; used by one thread, for one blob.

    Args:
        url: where the registry wants the bytes; opaque, and a secret.
        refused: whether a mount was asked for and not given.
    """

    def __init__(self, exchange: Exchange, repository: Repository, *, url: str, refused: bool) -> None:
        """See the class."""
        self._exchange, self._repository, self._url = exchange, repository, url
        self.refused = refused

    def put(self, body: Pieces, *, digest: str) -> bool:
        """Send the whole blob and commit it; whether the registry confirmed the digest.

        Args:
            body: the bytes; `len` gives their number. An exception that it raises comes out as it is, and the
                connection is closed, so that nothing is committed.
            digest: by which the registry checks what it got.

        Raises:
            RegistryError: the blob may or may not be there; `retryable` means in a new session.
            ThrottledError: the registry asks for a pause.
        """
        purpose = Purpose(operation=f"upload the blob {digest}", kind="send", repository=self._repository)
        stream = Body(body, purpose)
        call = Call(
            purpose=purpose,
            method="PUT",
            url=f"{self._url}{'&' if urlsplit(self._url).query else '?'}digest={quote(digest, safe='')}",
            headers={"Content-Type": "application/octet-stream"},
            body=stream,
            patience=self._exchange.settings.timeouts.commit,
        )
        response = self._exchange.ask(call, once=True)
        finish(response)
        if not stream.complete:
            words = "the registry said that all is well before it had all"
            raise RegistryError(fault_for(purpose, words=words, code="CONNECTION_LOST", retryable=True))
        if response.status_code == requests.codes.accepted:
            self._await_commit(purpose, digest)
            return True
        return confirms(purpose, response, digest=digest)

    def cancel(self) -> None:
        """Give the session up, if the registry lets us; many ask for a right to delete, and all clean up."""
        purpose = Purpose(operation="cancel an upload", kind="send", repository=self._repository)
        with suppress(RegistryError):
            finish(self._exchange.ask(Call(purpose=purpose, method="DELETE", url=self._url), once=True))

    def _await_commit(self, purpose: Purpose, digest: str) -> None:
        """A 202 means that the registry still works on it: ask until the blob is there."""
        url = f"/v2/{self._repository.path}/blobs/{digest}"
        head = Call(
            purpose=Purpose(operation=purpose.operation, kind="read", repository=self._repository),
            method="HEAD",
            url=url,
            follow=False,
        )
        for wait in _COMMIT_POLLS:
            response = self._exchange.ask(head, also=REDIRECTS | {404})
            finish(response)
            if response.status_code != requests.codes.not_found:
                return
            time.sleep(wait)
        words = "the registry took the blob, but does not show it after 60 s"
        raise RegistryError(fault_for(purpose, words=words, code="TIMEOUT", retryable=True))


def confirms(purpose: Purpose, response: Answer, *, digest: str) -> bool:
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
        raise RegistryError(fault_for(purpose, words=words, code="DIGEST_MISMATCH", hint=hint))
    return True
