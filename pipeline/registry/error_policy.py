"""What an unsuccessful answer means, as one table: the first row that fits decides.

Registries agree on statuses more than on codes, and on codes more than on texts. So a row has a text only if
a registry has neither, and its comment names that registry.
Sources: OCI distribution specification 1.1, "Error Codes"; RFC 9110; observed answers.
"""

from __future__ import annotations

import re
from dataclasses import field
from typing import TYPE_CHECKING, Literal

from pipeline.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from pipeline.registry.responses import Complaint

RequestKind = Literal["read", "begin", "send", "store", "token"]
"""read: GET and HEAD; begin: POST of an upload; send: PUT of a blob; store: PUT of a manifest; token."""

Verdict = Literal["later", "renew", "lacking", "again", "never"]
"""later: the registry asks for a pause. renew: the credential expired, and its helper may give a new one.
lacking: the registry does not have what the manifest names. again: a retry may succeed, for a body in a new
session. never: somebody must act first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An unsuccessful answer."""

    status: int
    complaint: Complaint
    headers: Mapping[str, str] = field(default_factory=dict)
    """Case-insensitive, or with names as in this package."""
    host: str = ""
    """The host that answered, unless it is the registry: storage, token server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: all that it states must fit."""

    verdict: Verdict
    kinds: AbstractSet[RequestKind] = frozenset()
    statuses: AbstractSet[int] = frozenset()
    codes: AbstractSet[str] = frozenset()
    """In capitals."""
    words: str = ""
    """A regular expression, searched in the words of the answer in lower case."""
    header: str = ""
    """One that the answer must have."""
    storage: bool = False
    """Whether another host than the registry must have answered."""

    def fits(self, kind: RequestKind, refusal: Refusal) -> bool:
        """Whether the row fits an answer to a request of that kind."""
        complaint = refusal.complaint
        return (
            (not self.statuses or refusal.status in self.statuses)
            and (not self.kinds or kind in self.kinds)
            and (not self.codes or complaint.code.upper() in self.codes)
            and (not self.words or re.search(self.words, complaint.words.lower()) is not None)
            and (not self.header or bool(refusal.headers.get(self.header)))
            and (not self.storage or bool(refusal.host))
        )


_WRITING: AbstractSet[RequestKind] = frozenset({"begin", "send", "store", "token"})

TABLE: tuple[Row, ...] = (
    Row(verdict="later", statuses={429}),
    Row(verdict="later", statuses={503}, header="Retry-After"),
    # Harbor's own spelling; ECR's with 400 and 503; GAR's; S3's and Azure's as storage behind a registry.
    Row(
        verdict="later",
        codes={
            "TOOMANYREQUESTS",
            "TOO_MANY_REQUEST",
            "TOO_MANY_REQUESTS",
            "THROTTLINGEXCEPTION",
            "RESOURCE_EXHAUSTED",
            "SLOWDOWN",
            "SERVERBUSY",
        },
    ),
    # The text of ECR's 400 and of Aliyun's 503.
    Row(verdict="later", words=r"throttlingexception|throttling\.|flow control"),
    # nginx itself, by default above limit_req or limit_conn, and as an ingress without a server behind it.
    Row(verdict="later", statuses={503}, words=r"service temporarily unavailable"),
    # GitHub's rate limits, also of GHCR.
    Row(verdict="later", statuses={403}, words=r"rate limit"),
    # ECR: "Your authorization token has expired. Reauthenticate and try again.", 12 hours after the login.
    Row(verdict="renew", statuses={401, 403}, words=r"authorization token has expired"),
    # distribution and most; ECR's LayersNotFoundException; GAR and Quay only have a text.
    Row(
        verdict="lacking",
        kinds={"store"},
        codes={"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "LAYERS_NOT_FOUND"},
    ),
    Row(verdict="lacking", kinds={"store"}, words=r"layers ?not ?found|blob ?unknown"),
    # cue's registry, with 500: "blob for layers[0] not found", "manifest for manifests[1] not found".
    Row(verdict="lacking", kinds={"store"}, words=r"(blob|manifest) for \S+ not found"),
    # S3, GCS and Azure answer so to an expired presigned URL: the registry returns a new one.
    Row(verdict="again", kinds={"read"}, statuses={400, 401, 403}, storage=True),
    # 409 for immutable tags: Quay's has a code, those of GAR and GitLab a text.
    Row(verdict="never", kinds={"store"}, words=r"immutable|cannot be overwritten|protected tag"),
    Row(
        verdict="never",
        kinds=_WRITING,
        codes={
            "DENIED",
            "LAYER_TOO_LARGE",
            "MANIFEST_INVALID",
            "MANIFEST_UNVERIFIED",
            "NAME_INVALID",
            "NAME_UNKNOWN",
            "TAG_ALREADY_EXISTS",
            "TAG_IMMUTABLE",
            "TAG_INVALID",
            "UNSUPPORTED",
        },
    ),
    # 409: Harbor's races between two pushes. 520 to 529: Cloudflare's, before Docker Hub and Quay.
    Row(verdict="again", statuses={408, 409, 425, 500, 502, 503, 504, *range(520, 530)}),
    # 401: the token expired meanwhile. 400, 404, 416: the session is gone or refuses this part.
    Row(verdict="again", kinds={"send"}, statuses={400, 401, 404, 416}),
    Row(verdict="never"),
)


def decide(kind: RequestKind, refusal: Refusal) -> Verdict:
    """The verdict on an answer to a request of that kind."""
    return next(row.verdict for row in TABLE if row.fits(kind, refusal))
