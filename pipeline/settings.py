"""The settings of a run: frozen, small, without secrets, so they can be sent to workers and logged."""

from __future__ import annotations

import os
from dataclasses import field
from pathlib import Path
from typing import Literal

from pipeline.dataclass import dataclass

KIB = 1 << 10
MIB = 1 << 20

MAX_MANIFEST = 4 * MIB
"""Bytes of one manifest; the limit of distribution and of skopeo."""
MAX_TAG_PAGE = 32 * MIB
"""Bytes of one page of a tag list: some registries do not paginate."""
MAX_CONFIG = 8 * MIB
"""Bytes of an image config that a platform filter reads."""
MAX_DEPTH = 5
"""Nesting depth of indexes."""
MAX_TREE_BYTES = 64 * MIB
"""Bytes of all manifests of one image."""
MAX_TREE_ENTRIES = 10_000
"""Manifests of one image."""
PAGE = 1_000
"""Tags asked for in one page."""

Aim = Literal["copy", "plan", "verify"]
"""The purpose of a run: copy; predict what a copy would do; check that all images are at their
destination."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Timeouts for the parts of a request, in seconds."""

    connect: float = 10.0
    read: float = 60.0
    """Between two reads of a response."""
    send: float = 120.0
    """Sending one piece of a body; storage behind a registry may pause for tens of seconds."""
    commit: float = 600.0
    """The response to an upload's last request: the registry hashes the blob and moves it to object
    storage."""
    stall: float = 60.0
    """A body with less than 1 KiB/s over this time is aborted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The retries of one operation within a worker; no other layer retries."""

    tries: int = 3
    waiting: float = 10.0
    """Seconds of waiting between all attempts together."""
    base: float = 0.5
    """Seconds: the n-th wait is random, from 0 to base * 2**n."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    """Chunked uploads: confirmed chunks are not sent again after a failure."""

    above: int = 288 * MIB
    """Bytes: larger blobs are uploaded in chunks if the registry supports it. More than 256 MiB, because a
    file of that size makes a blob that is a little larger."""
    chunk: int = 16 * MIB
    """Minimum bytes of a chunk except the last; four times as many for the largest blobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of parallelism."""

    requests: int = 64
    """Maximum short requests in flight per registry, and as many small blobs; the actual limits adapt."""
    bodies: int = 16
    """Maximum large blobs in flight per registry."""
    proc: int | None = None
    """--proc: maximum images resolved, and blobs copied, at a time; None: only the registries' limits."""
    window_images: int = 256
    """Maximum open images."""
    window_bytes: int = 64 * MIB
    """No further image is started while this many bytes of manifests are held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one run, from flags and environment."""

    records: Path = Path("records")
    aim: Aim = "copy"
    trust_existing: bool = False
    """Whether `min_age` counts what the destination has as seen long ago."""
    deep: bool = False
    """Whether `verify` reads and hashes the destination's blobs."""
    patience: float = 3600.0
    """Seconds without an accepted request after which a registry counts as unavailable."""
    bandwidth: float | None = None
    """--bandwidth: maximum bytes a second of all blobs, in each direction; None: unlimited."""
    drain: float = 25.0
    """Seconds for running tasks to finish after the first signal."""
    debug: bool = False
    """Whether to make events of level debug."""
    timed: bool = False
    """Whether to report each request with its status and duration, for metrics."""
    silence: float = 120.0
    """Seconds without a heartbeat after which a worker with running tasks is killed."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    retry: Retry = field(default_factory=Retry)
    limits: Limits = field(default_factory=Limits)
    uploads: Uploads = field(default_factory=Uploads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """--shard: the part of a job that one of several runs does."""

    index: int
    """From 0."""
    count: int
    by: Literal["repository", "namespace"] = "repository"
    """--shard-by: which destinations stay together."""
    parallelism: int = 1
    """--shard-parallelism: how many of the runs go on at a time; the user's limits are divided by it."""

    @property
    def folder(self) -> str:
        """`017-of-200`: its records, in the folder of all."""
        return f"{self.index:0{len(str(self.count))}}-of-{self.count}"

    def __str__(self) -> str:
        """`17/200`."""
        return f"{self.index}/{self.count}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """--engine dask: the Dask cluster whose workers run the tasks."""

    scheduler: str = ""
    """`tls://host:8786`; empty: start a scheduler and workers on this machine."""
    workers: int = min(os.cpu_count() or 1, 4)
    """How many workers to start on this machine."""
    worker_auth: tuple[Path, ...] = ()
    """Where workers have the credentials files; empty: where this machine has them."""
    ca: str = ""
    """The file of the authority's certificate; empty, like the next two: what Dask's configuration says."""
    cert: str = ""
    key: str = ""


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
    """The parsed and checked command line, with defaults from the environment."""

    verb: str
    words: tuple[str, ...]
    """SOURCE and DESTINATIONs of `copy`."""
    auth: tuple[Path, ...]
    images: tuple[Path, ...]
    """Rules files, folders of them, `-` for standard input; in order."""
    to: str | None
    """The destination of plain lists; None: the default one."""
    config: Path | None
    log: Path | None
    log_level: str | None
    """None: info, or warning with a display or --quiet."""
    log_format: Literal["text", "logfmt", "json"] | None
    """None: text on a terminal, logfmt elsewhere."""
    progress_interval: float
    """Seconds between two progress lines; 0: only at SIGUSR1."""
    metrics_listen: tuple[str, int] | None
    """Host and port of the metrics page."""
    metrics_file: Path | None
    namespace: str
    registry: str
    proc: int | None
    records: Path
    """With a shard, its own folder in the one that --records names."""
    shard: Shard | None
    cluster: ClusterOptions | None
    """None: workers are processes of this machine."""
    retries: int
    os: tuple[str, ...]
    arch: tuple[str, ...]
    referrers: tuple[str, ...] | None
    """Words or artifact types; None: not given."""
    force: bool
    bandwidth: float | None
    patience: float
    drain: float
    success_file: Path | None
    success_format: Literal["yaml", "json"]
    failed_file: Path | None
    progress: Literal["auto", "live", "plain", "none"]
    quiet: bool
    json: bool
    """Whether to print the summary to standard output as one JSON object."""
    report: Path | None
    dry_run: bool
    """--dry-run: `plan` under another name."""
    explain: str | None
    """The image, or repository, that `plan` explains."""
    deep: bool
    tags: bool
    """Whether `list` prints tags."""
    trust_existing: bool
    """Whether `min_age` counts what the destination has as seen long ago."""
    all_tags: bool
    """Whether a source without a tag means every tag, in a rule that is given in words."""
    insecure: bool
    """For the registries of such a rule; likewise the next two."""
    src_creds: GivenLogin | None
    dest_creds: GivenLogin | None
    ignored: tuple[str, ...]
    """Given flags that have no effect for the verb."""
    arguments: tuple[str, ...]
    """The command line as it was given, but for passwords."""
