"""Every metric: its name, type, labels and meaning; docs/metrics.md is generated from it.

Names follow Prometheus' conventions: the application first, base units, `_total` last. No label has an
image, a repository, a digest or a word chosen by a registry: the number of series depends on how many
registries the rules name, and on MAX_HOSTS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipeline.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "imagesyncer_"
MAX_HOSTS = 50
"""Hosts with series of their own in one run: each pod of a cluster is a host, and pods come and go."""
OTHER_HOSTS = "other"


@dataclass(frozen=True, slots=True)
class Metric:
    """The description of one metric."""

    kind: Literal["gauge", "counter", "histogram"]
    labels: tuple[str, ...]
    meaning: str


METRICS: Mapping[str, Metric] = {
    "build_info": Metric("gauge", ("version",), "1; the version is a label."),
    "run_last_success_timestamp_seconds": Metric(
        "gauge",
        (),
        "When a run last ended with every image at its destination; kept from the file's earlier content.",
    ),
    "run_last_completion_timestamp_seconds": Metric("gauge", (), "When this run ended; absent until then."),
    "run_duration_seconds": Metric("gauge", (), "Duration of this run so far."),
    "run_failed_images": Metric(
        "gauge", (), "Images that are not at their destination, including those to retry."
    ),
    "run_optional_failures": Metric(
        "gauge", (), "Failed images and rules whose rule is optional: the exit code does not count them."
    ),
    "images": Metric(
        "gauge",
        ("state",),
        "Images that are not finished. planned: tags that wait for room; in_flight: started;"
        " waiting: failed, to be retried after all others.",
    ),
    "images_finished_total": Metric(
        "counter", ("outcome",), "Finished images: copied, unchanged, kept, held, skipped or failed."
    ),
    "companions_total": Metric(
        "counter",
        ("outcome",),
        "Signatures, SBOMs and other artifacts of images: stored; or missing, if that failed no image.",
    ),
    "blobs_total": Metric(
        "counter",
        ("registry", "how"),
        "Blobs at a destination: uploaded, mounted, present, or left to their urls.",
    ),
    "spared_bytes_total": Metric(
        "counter", ("registry", "how"), "Bytes of blobs that were mounted or present, and not sent."
    ),
    "transferred_bytes_total": Metric(
        "counter", ("registry", "direction"), "Bytes of blobs received (read) and sent (written)."
    ),
    "requests_total": Metric(
        "counter",
        ("registry", "method", "code"),
        "Requests by HTTP status; code none: no answer. Requests to token servers and storage count for the"
        " registry that named these.",
    ),
    "request_duration_seconds": Metric(
        "histogram",
        ("registry", "method"),
        "From the start of a request until its answer began; of a PUT, including its body.",
    ),
    "retries_total": Metric(
        "counter",
        ("registry", "reason"),
        "Retried requests and blobs, by HTTP status or a code such as TIMEOUT.",
    ),
    "requests_in_flight": Metric("gauge", ("registry",), "Tasks that hold a slot at the registry now."),
    "requests_limit": Metric(
        "gauge",
        ("registry",),
        "Short requests that may be in flight now; shrinks when the registry limits the rate.",
    ),
    "cooldown_seconds": Metric(
        "gauge", ("registry",), "Time until the next request to the registry; 0: now."
    ),
    "ratelimit_remaining": Metric(
        "gauge", ("registry",), "Pulls left, as the registry stated last; absent if it states none."
    ),
    "workers": Metric("gauge", (), "Worker processes."),
    "host_workers": Metric(
        "gauge",
        ("host",),
        f"With --engine dask: workers on each host; {OTHER_HOSTS}: on those after the first {MAX_HOSTS}.",
    ),
    "host_tasks": Metric(
        "gauge", ("host",), f"With --engine dask: tasks of the workers on each host; {OTHER_HOSTS}: likewise."
    ),
    "worker_deaths_total": Metric(
        "counter", ("reason",), "Worker processes that died; the reason is the signal's name, or exit."
    ),
}
"""By name without the prefix."""
