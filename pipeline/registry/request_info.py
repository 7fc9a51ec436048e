"""What a request is for: stated by its caller, used to describe its failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipeline.dataclass import dataclass

if TYPE_CHECKING:
    from pipeline.errors import Side
    from pipeline.model.reference import Repository
    from pipeline.registry.error_policy import RequestKind

Sent = Literal["nothing", "unasked", "login", "token"]
"""nothing: there is no login. unasked: there is one, but the registry never asked for it. login: the user's
own, usually a password. token: a token server's.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestInfo:
    """What a request is for, in the words of its fault."""

    operation: str
    """A verb phrase: "read the manifest v1"."""
    kind: RequestKind
    repository: Repository
    side: Side = ""
    """Of the copy."""
    origin: str = ""
    """Where the credential comes from; for hints."""
    sent: Sent = "token"
    """What was sent as authorization."""
    media_type: str = ""
    """Of the manifest that is stored."""
