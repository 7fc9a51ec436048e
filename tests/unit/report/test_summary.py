from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.log import event_of
from pipeline.model.figures import Figures, Timing
from pipeline.observe.history import PauseRecord, RunHistory
from pipeline.report.causes import from_row, group
from pipeline.report.summary import Summary, as_object, summary_lines, waits
from tests.unit.report.test_causes import DENIED, ROW
from tests.unit.views import QUAY, view

if TYPE_CHECKING:
    from pipeline.log import Value


def seen() -> RunHistory:
    """What was observed: response times of a registry, two that paused, a changed digest."""
    made, timing = RunHistory(), Timing()
    for _ in range(9):
        timing.add(0.03)
    made.tick(view(registries=(replace(QUAY, calls={("GET", 200): timing}),)))
    made.held |= {"docker.io": PauseRecord(times=1, seconds=60.2), "q": PauseRecord(times=3, seconds=9)}
    made.changed = 1
    return made


SUMMARY = Summary(
    run="7f3a",
    version="2.0",
    exit_code=1,
    figures=Figures(
        known=3006,
        copied=2741,
        unchanged=257,
        skipped=1,
        failed=1,
        to_retry=2,
        rules=212,
        rules_failed=1,
        sent=84_200_000_000,
        received=84_300_000_000,
        saved=61_000_000_000,
        mounted=12_944,
        present=3,
        requests=53_120,
        requests_by_registry={"quay.io": 53_120},
    ),
    seconds=564.04,
    history=seen(),
    causes=group(map(from_row, [ROW, replace(ROW, source="quay.io/b:1"), DENIED])),
    notes=("a note\x1b",),
    again=("image-syncer", "--images", "my failed.yaml"),
    report="report.html",
)


def test_unreachable_pause_is_not_a_rate_limit() -> None:
    """A pause of a registry that cannot be reached is not called a rate limit."""
    history = seen()
    for name, status, troubled in (("q", None, False), ("docker.io", 429, False)):
        fields: dict[str, Value] = {"registry": name, "status": status}
        history.hear(event_of("registry.cooldown", fields, facts={"troubled": troubled}))

    assert waits(replace(SUMMARY, history=history))[:2] == [
        "docker.io rate-limited once, waited 1m0s",
        "q paused 3 times, waited 9s",
    ]


def test_lines_of_the_summary() -> None:
    """The summary has the results, the costs, the failures by cause, and what to do."""
    first = "3,006 images in 9m24s: 2,741 copied, 257 up to date, 1 skipped, 4 not finished"
    sent = "84.2GB sent (149.3MB/s), 61GB saved: 12,944 blobs mounted, 3 already there;"
    assert summary_lines(SUMMARY) == [
        f"{first}, 3 FAILED, 1 rule FAILED as a whole",
        f"  {sent} 53,120 requests, 17.7 per image",
        "  docker.io rate-limited once, waited 1m0s",
        "  q rate-limited 3 times, waited 9s",
        "  1 digest changed by --os or --arch: see the log",
        "  quay.io response time: median 38ms, 95th percentile 49ms",
        r"  a note\x1b",
        "FAILED  source quay.io: 404 MANIFEST_UNKNOWN, no such tag or digest (2 images)",
        "        for example quay.io/team/api:v3.1 -> harbor.corp/team/api:v3.1",
        "        source: cannot read: 404 MANIFEST_UNKNOWN: no such tag",
        "        what to do: correct the tag in the rule, or remove the rule",
        "FAILED  destination harbor.corp: 403 DENIED, not allowed (1 image)",
        "        quay.io/team/api:v3.1 -> harbor.corp/team/api:v3.1",
        "        destination: cannot push: 403 DENIED: no",
        "        what to do: ask for rights",
        "To retry:  image-syncer --images 'my failed.yaml'",
        "Report:  report.html",
        "Synchronization finished, 4 tasks failed, cost 9m24s.",
    ]


def test_run_without_images_says_so() -> None:
    """A run without images says so."""
    assert summary_lines(Summary()) == [
        "0 images in 0s: 0 copied, 0 up to date",
        "  0B sent, 0 blobs mounted; 0 requests",
        "Synchronization finished, 0 tasks failed, cost 0s.",
    ]


def test_unfinished_run_says_how_to_resume() -> None:
    """An unfinished run does not claim to have finished, but says what is left and how to resume."""
    lines = summary_lines(replace(SUMMARY, is_stopped=True, unexpanded=2))

    assert "To resume:  image-syncer --images 'my failed.yaml'" in lines
    assert lines[-1] == (
        "Synchronization stopped, 4 tasks failed, 4 images not finished,"
        " 2 rules not fully expanded, cost 9m24s."
    )


def test_terminal_shows_a_dozen_causes() -> None:
    """A terminal shows a dozen causes and counts the other failures; a file has all of them."""
    rows = [replace(ROW, code=f"CODE{number}") for number in range(20)]
    many = replace(SUMMARY, causes=group(map(from_row, rows)))
    lines, whole = summary_lines(many, most=12), summary_lines(many)

    assert len([line for line in whole if line.startswith("FAILED  source")]) == 20
    assert not [line for line in whole if "for other causes" in line]
    assert len([line for line in lines if line.startswith("FAILED  source")]) == 12
    assert "FAILED  8 mores for other causes: see the log" not in lines
    assert "FAILED  8 more for other causes: see the log" in lines


def test_long_registry_message_is_truncated() -> None:
    """A registry's long words are truncated."""
    (cause,) = group([from_row(replace(ROW, fault="x" * 500))])
    lines = summary_lines(replace(SUMMARY, causes=(cause,)))

    assert f"        {'x' * 237}..." in lines


def test_json_object_has_the_same_figures() -> None:
    """The JSON object has the same figures, bytes and seconds as numbers, and examples of each cause."""
    found = json.loads(json.dumps(as_object(SUMMARY)))

    assert found["schema"] == 1
    assert found["images"] == {
        "total": 3006,
        "copied": 2741,
        "unchanged": 257,
        "kept": 0,
        "held": 0,
        "skipped": 1,
        "failed": 3,
        "unfinished": 4,
    }
    assert found["bytes"] == {"received": 84_300_000_000, "sent": 84_200_000_000, "spared": 61_000_000_000}
    assert found["pauses"][0] == {"registry": "docker.io", "times": 1, "seconds": 60.2}
    assert [(each["status"], each["images"]) for each in found["failures"]] == [(404, 2), (403, 1)]
    assert found["failures"][0]["examples"][1] == {
        "source": "quay.io/b:1",
        "destinations": ["harbor.corp/team/api:v3.1"],
        "message": "source: cannot read: 404 MANIFEST_UNKNOWN: no such tag",
    }
    assert found["try_again"] == ["image-syncer", "--images", "my failed.yaml"]


def test_digests_are_shortened_first() -> None:
    """Digests are shortened before the reason is."""
    words = f"cannot begin to upload the blob sha256:{'7' * 64} at {'r' * 60}/team/app: 404: no such project"
    (cause,) = group([from_row(replace(ROW, fault=words))])
    [shown] = [line for line in summary_lines(replace(SUMMARY, causes=(cause,))) if "cannot begin" in line]

    assert shown.endswith("sha256:777777777777 at " + "r" * 60 + "/team/app: 404: no such project")
