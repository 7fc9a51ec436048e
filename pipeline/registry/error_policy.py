"""What an unwelcome answer means, as one table: the first row that fits decides.

Registries agree on statuses far more than on codes, and on codes more than on texts; so a row asks for a text
only where a registry has no other way to say it, and says which registry that is.
Sources: OCI distribution specification 1.1, "Error Codes"; RFC 9110; what registries were seen to answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from pipeline.registry.responses import Complaint

RequestKind = Literal["read", "begin", "send", "store", "token"]
"""read: GET and HEAD; begin: POST of an upload; send: PUT of a blob; store: PUT of a manifest; token."""

Verdict = Literal["later", "renew", "lacking", "again", "never"]
"""later: the registry asks for a pause. renew: the credential has run out, and whoever made it may make
another. lacking: the manifest names what the registry does not have. again: the same may succeed a moment
later, for a body in a new session. never: somebody has to do something first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer that is not what was hoped for."""

    status: int
    complaint: Complaint
    headers: Mapping[str, str] = field(default_factory=dict)
    """Case-insensitive, or with the names as in this package."""
    host: str = ""
    """Of the host that answered, where it is not the registry: storage, token server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """All that is given has to fit."""

    verdict: Verdict
    kinds: AbstractSet[RequestKind] = frozenset()
    statuses: AbstractSet[int] = frozenset()
    codes: AbstractSet[str] = frozenset()
    """In capitals."""
    words: str = ""
    """An expression that is searched in the words of the answer, in lower case."""
    header: str = ""
    """One that has to be there."""
    storage: bool = False
    """Whether another host than the registry has to have answered."""

    def fits(self, kind: RequestKind, refusal: Refusal) -> bool:
        """Whether this row is about that answer to a request of that kind."""
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
    # ECR names the exception in the text of a 400, Aliyun the flow control in that of a 503.
    Row(verdict="later", words=r"throttlingexception|throttling\.|flow control"),
    # GitHub's limits, for GHCR too, come as 403.
    Row(verdict="later", statuses={403}, words=r"rate limit"),
    # ECR: "Your authorization token has expired. Reauthenticate and try again.", 12 hours after the login.
    Row(verdict="renew", statuses={401, 403}, words=r"authorization token has expired"),
    # distribution and most; ECR's LayersNotFoundException; GAR and Quay name the blob in the text only.
    Row(
        verdict="lacking",
        kinds={"store"},
        codes={"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "LAYERS_NOT_FOUND"},
    ),
    Row(verdict="lacking", kinds={"store"}, words=r"layers ?not ?found|blob ?unknown"),
    # A presigned URL that ran out comes as 400, 401 or 403 of S3, GCS or Azure: the registry gives another.
    Row(verdict="again", kinds={"read"}, statuses={400, 401, 403}, storage=True),
    # Answers of 409 that no waiting changes: Quay's immutable tags by code, those of GAR and GitLab by text.
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
    # 401: the token ran out under way. 400, 404, 416: the session is gone or does not take this piece.
    Row(verdict="again", kinds={"send"}, statuses={400, 401, 404, 416}),
    Row(verdict="never"),
)


def decide(kind: RequestKind, refusal: Refusal) -> Verdict:
    """What follows from an answer to a request of that kind."""
    return next(row.verdict for row in TABLE if row.fits(kind, refusal))
