"""What a run is told: frozen, small, safe to send to a worker and to log (it holds no secret)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

KIB = 1 << 10
MIB = 1 << 20

MAX_MANIFEST = 4 * MIB
"""Bytes of one manifest; the limit of distribution and of skopeo."""
MAX_TAG_PAGE = 32 * MIB
"""Bytes of one page of a tag list: some registries know no pages."""
MAX_CONFIG = 8 * MIB
"""Bytes of an image's config that a platform filter reads."""
MAX_DEPTH = 5
"""Indexes within indexes."""
MAX_TREE_BYTES = 64 * MIB
"""Bytes of all manifests of one image."""
MAX_TREE_ENTRIES = 10_000
"""Manifests of one image."""
PAGE = 1_000
"""Tags asked for in one page."""

Aim = Literal["copy", "plan", "verify"]
"""What a run is for: to copy; to foresee what that would do; to see whether all is at its destination."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds that one request may take in its parts."""

    connect: float = 10.0
    read: float = 60.0
    """Between two reads of an answer."""
    send: float = 120.0
    """One send of a body's piece; storage behind a registry pauses for tens of seconds."""
    commit: float = 600.0
    """The answer to an upload's last request: hashing and moving to object storage."""
    stall: float = 60.0
    """A body that moves less than 1 KiB/s over this time is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The one retry layer of an operation, within a worker."""

    tries: int = 3
    waiting: float = 10.0
    """Seconds of waiting in all tries together."""
    base: float = 0.5
    """Seconds: the n-th wait is drawn from 0 to base * 2**n."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    """When a blob goes up in chunks, of which every one that was confirmed need not be sent again."""

    above: int = 256 * MIB
    """Bytes: larger blobs go up in chunks where the registry takes them."""
    chunk: int = 16 * MIB
    """Bytes of one chunk at least, but for the last; four times as many in the largest blobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much runs at a time."""

    requests: int = 64
    """Short requests in flight per registry at most; how many there are is found out."""
    bodies: int = 16
    """Blobs in flight per registry at most."""
    proc: int | None = None
    """--proc: images resolved, and blobs moved, at a time in all; None: only the registries' limits."""
    window_images: int = 256
    """Images that are open at a time."""
    window_bytes: int = 64 * MIB
    """Bytes of manifests held at which no further image is begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one run is told, flags and environment taken together."""

    records: Path = Path("records")
    os: tuple[str, ...] = ()
    """--os as written, one platform each: "linux", "windows:10.0.17763.1397"."""
    arch: tuple[str, ...] = ()
    """--arch as written, one each: "amd64", "arm64:v8"."""
    force: bool = False
    aim: Aim = "copy"
    deep: bool = False
    """Whether `verify` reads and hashes what the destination holds."""
    retries: int = 2
    """Passes over what failed, after all others."""
    patience: float = 3600.0
    """Seconds after which a registry that lets nothing through is given up."""
    drain: float = 25.0
    """Seconds that running tasks get after the first signal."""
    debug: bool = False
    """Whether events of level debug are wanted: nobody makes any otherwise."""
    timed: bool = False
    """Whether each request is reported with its status and how long it took, for metrics."""
    silence: float = 120.0
    """Seconds without a word after which a worker with running tasks is killed."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    retry: Retry = field(default_factory=Retry)
    limits: Limits = field(default_factory=Limits)
    uploads: Uploads = field(default_factory=Uploads)


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenLogin:
    """A login of the command line; of `variable`, `from_input` and `password` one is set."""

    username: str
    variable: str = ""
    """The environment variable that holds the password."""
    from_input: bool = False
    """Whether standard input holds it."""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line, taken apart and checked for itself; defaults from the environment taken in."""

    verb: str
    words: tuple[str, ...]
    """SOURCE and DESTINATIONs of `copy`."""
    auth: Path | None
    images: Path | None
    config: Path | None
    log: Path | None
    log_level: str | None
    """None: info, or warning where a display, or nobody, shows the rest."""
    log_format: Literal["text", "logfmt", "json"] | None
    """None: text on a terminal, logfmt elsewhere."""
    progress_interval: float
    """Seconds between two lines on how far the run is; 0: only when asked."""
    metrics_listen: tuple[str, int] | None
    """Host and port of the page of metrics."""
    metrics_file: Path | None
    namespace: str
    registry: str
    proc: int | None
    records: Path
    retries: int
    os: tuple[str, ...]
    arch: tuple[str, ...]
    force: bool
    patience: float
    drain: float
    success_file: Path | None
    success_format: Literal["yaml", "json"]
    failed_file: Path | None
    progress: Literal["auto", "live", "plain", "none"]
    quiet: bool
    json: bool
    """Whether the summary goes to standard output as one JSON object."""
    report: Path | None
    dry_run: bool
    """--dry-run: `plan` under another name."""
    deep: bool
    all_tags: bool
    """Whether a source without a tag means every tag, in a rule that is given in words."""
    insecure: bool
    """For the registries of such a rule; likewise the next two."""
    src_creds: GivenLogin | None
    dest_creds: GivenLogin | None
    arguments: tuple[str, ...]
    """The command line as it was given, but for passwords."""
