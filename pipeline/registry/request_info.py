"""What a request is for: said by whoever makes it, used by whoever has to tell of its failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pipeline.model.reference import Repository
    from pipeline.registry.error_policy import RequestKind

Sent = Literal["nothing", "unasked", "login", "token"]
"""nothing: nobody is logged in there. unasked: somebody is, and the registry never asked who we are. login:
what the user has given, a password mostly. token: what a token server has given for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestInfo:
    """What a request is for, in the words that its fault will use."""

    operation: str
    """A verb phrase: "read the manifest v1"."""
    kind: RequestKind
    repository: Repository
    origin: str = ""
    """Where the credential came from; names it in hints."""
    sent: Sent = "token"
    """What was said of who we are."""
    media_type: str = ""
    """Of the manifest that is stored."""
