"""How the scripted registry behaves, as one frozen value.

Each field is one quirk of some registry in use; the defaults are those of distribution 2.8, except for
paging, which follows the OCI distribution specification. All fields are JSON scalars, so that options
travel over the control endpoint and the command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ContentType = Literal[
    "right", "none", "application/json", "text/html", "text/plain", "application/octet-stream"
]
Link = Literal[
    "relative", "absolute", "http", "bare", "lost-prefix", "other-host", "loop", "repeat", "endless", "none"
]
Location = Literal["relative", "absolute", "http", "other-host", "missing"]
Mount = Literal["yes", "refused", "lie", "unauthorized", "denied", "unsupported", "broken"]
Ranges = Literal["yes", "ignored", "wrong-start", "lying"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything that can differ between two registries."""

    # Authentication.
    auth: Literal["none", "basic", "token"] = "none"
    username: str = "user"
    password: str = "pass"
    """The one account; also accepted with Basic at the token endpoint."""
    anonymous: bool = False
    """Whether a token without credentials may pull."""
    token_elsewhere: bool = False
    """Whether the realm is on the second host."""
    elsewhere_as: str = ""
    """Name of the second host in URLs; empty: its address."""
    token_field: Literal["both", "token", "access_token"] = "both"
    token_post: bool = True
    """Whether the OAuth2 POST form is supported; otherwise it gets 404."""
    token_grants: Literal["asked", "pull", "first"] = "asked"
    """What a token grants: all that was requested, only pull, or only the first scope."""
    token_expires_in: int | None = 300
    """The lifetime in the token answer; None: not stated."""
    token_uses: int | None = None
    """Requests after which a token expires, whatever was announced."""
    harbor: bool = False
    """The challenge is Basic once a request carried an Authorization that failed (goharbor/harbor)."""
    denied: str = ""
    """Repositories (a regular expression for the whole path) that no token grants."""

    # Tag lists.
    page: int | None = None
    """Tags in a page if the request has no n, and the largest n; None: everything."""
    honour_n: bool = True
    link: Link = "relative"
    tags: Literal["sorted", "unsorted", "doubled", "null", "missing"] = "sorted"

    # The listing of repositories, and of tags with digests.
    catalogue: Literal["no", "v2", "harbor", "hub", "quay", "gitlab", "ghcr", "gar", "acr"] = "no"
    """Which vendor's interface there is beside distribution's; see catalogues.py."""
    catalogue_page: int = 0
    """Entries in a page at most; 0: as at the vendor."""
    catalogue_extra: str = ""
    """Names, separated by spaces, that are listed beside the repositories."""
    catalogue_hides: int = 0
    """Entries that are counted but not listed."""
    catalogue_lies: int = 0
    """A seed, with which Harbor's listing of artifacts is wrong in most repositories; 0: it is right."""
    projects_first: bool = False
    """Harbor: a push needs an existing project."""
    catalogue_denied: bool = False
    """Nobody may list."""

    # Manifests.
    strict_accept: bool = True
    """404 for a manifest whose exact type is not in Accept."""
    content_type: ContentType = "right"
    digest_header: bool = True
    """Whether Docker-Content-Digest is sent with manifests and after uploads."""
    head: bool = True
    """Whether HEAD of a manifest is supported; otherwise it gets 405."""
    check_references: bool = True
    """A manifest may only name blobs and children that exist."""
    schema1: bool = False
    """Whether docker schema 1 may be pushed."""
    immutable: Literal["no", "ecr", "harbor", "quay", "acr"] = "no"
    """The answer to a push of an existing tag."""
    if_match: bool = False
    """Whether a push honours If-Match."""
    read_only: bool = False
    """Every push is answered with 405."""
    create_first: bool = False
    """Only repositories that were created (`create`) accept pushes."""
    max_manifest: int = 4 << 20
    """Bytes."""
    pulls: int = 0
    """The rate limit in the headers of manifests, as at Docker Hub: this many GETs in six hours, HEAD is
    free. 0: no such headers.
    """
    pulls_of_account: int = 0
    """The same for requests with a token of the account; 0: as for anonymous ones."""
    pulls_refused: bool = False
    """Whether GETs beyond the limit are refused, with Docker Hub's message."""

    # Referrers.
    referrers: Literal["no", "yes", "filters"] = "no"
    """Whether the referrers API exists, and applies artifactType; OCI-Subject then answers a push."""
    referrers_page: int = 0
    """Referrers in a page; 0: all."""

    rate: int = 0
    """Requests accepted within any second, tokens aside; others get 429 with `Retry-After: 1`. 0: all."""

    # Blobs.
    redirect: Literal["no", "get", "all"] = "no"
    """GETs (and HEADs) of blobs are redirected to the second host, which refuses Authorization as S3 does."""
    ranges: Ranges = "yes"
    gzip: bool = False
    """Answers are compressed if the client accepts it."""
    mount: Mount = "yes"
    location: Location = "relative"
    """Of an upload session."""
    session_state: bool = True
    """The Location changes with each answer, and only the newest is valid."""
    session_dies: bool = True
    """An incomplete body ends its session."""
    broken_bodies: bool = True
    """Whether an incomplete body reaches the session; no: as behind a proxy that buffers."""
    check_content_range: bool = False
    """A PATCH that does not start at the end of the session gets 416."""
    patch_status: int = 202
    patch_range: Literal["right", "stuck", "none", "one-too-many"] = "right"
    patch_takes: int = 0
    """Bytes that a PATCH takes at most, as its Range says; 0: all."""
    chunk_min: int = 0
    chunk_max: int = 0
    """What OCI-Chunk-Min-Length and -Max-Length announce, if not 0; larger bodies get 413."""
    monolithic_post: bool = False
    """Whether POST with a digest and a body stores the blob."""
    sink: bool = False
    """Uploaded blobs are hashed and counted, not kept; they read as zeros."""

    # The server.
    count_only: bool = False
    """Requests are counted, not logged: for runs of hundreds of thousands."""
