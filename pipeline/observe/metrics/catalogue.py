"""Every metric: its name, type, labels and meaning; docs/metrics.md is generated from it.

Names follow Prometheus' conventions: the application first, base units, `_total` last. No label holds an
image, a repository, a digest or a word that a registry chooses: the number of series depends on how many
registries the rules name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "imagesyncer_"


@dataclass(frozen=True, slots=True)
class Metric:
    """What one metric says."""

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
    "run_duration_seconds": Metric("gauge", (), "How long this run has taken so far."),
    "run_failed_images": Metric(
        "gauge", (), "Images that are not at their destination, those to be tried again included."
    ),
    "images": Metric(
        "gauge",
        ("state",),
        "Images that have not ended. planned: tags that wait for room; in_flight: begun;"
        " waiting: failed, to be tried again after all others.",
    ),
    "images_finished_total": Metric(
        "counter", ("outcome",), "Images that have ended: copied, unchanged, skipped or failed."
    ),
    "blobs_total": Metric(
        "counter",
        ("registry", "how"),
        "Blobs in place at a destination: uploaded, mounted, present, or left to their urls.",
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
        "Requests by HTTP status, code none where no answer came; those to token servers and storage count"
        " for the registry that sent us there.",
    ),
    "request_duration_seconds": Metric(
        "histogram",
        ("registry", "method"),
        "From the start of a request until its answer began; of a PUT, sending its body included.",
    ),
    "retries_total": Metric(
        "counter",
        ("registry", "reason"),
        "Requests and blobs that were tried again, by HTTP status or a word such as TIMEOUT.",
    ),
    "requests_in_flight": Metric("gauge", ("registry",), "Tasks that hold a place at the registry now."),
    "requests_limit": Metric(
        "gauge",
        ("registry",),
        "Short requests that may be in flight now; shrinks when the registry pushes back.",
    ),
    "cooldown_seconds": Metric("gauge", ("registry",), "Until the registry may be asked again; 0: now."),
    "ratelimit_remaining": Metric(
        "gauge", ("registry",), "Pulls left, as the registry said last; absent where it says nothing."
    ),
    "workers": Metric("gauge", (), "Worker processes."),
    "worker_deaths_total": Metric(
        "counter", ("reason",), "Worker processes that died: of a signal, by its name, or exit."
    ),
}
"""By name without the prefix."""
