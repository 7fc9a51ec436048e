"""The job of a shard: its rules, and its share of the limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.cli.arguments import parse
from pipeline.commands.job import Job, prepare

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = "{r.io: {requests: 7, rate: 10, bandwidth: 8MB/s}, other.io: {insecure: true}}"


def job(folder: Path, *flags: str) -> Job:
    """A job with a bad rule, and good ones for every shard."""
    images, auth = folder / "images.yaml", folder / "auth.yaml"
    images.write_text(
        "UPPER: r.io/a/b\nquay.io/a/b: [" + ", ".join(f"r.io/a/b{n}" for n in range(30)) + "]\n"
    )
    auth.write_text(LIMITS)
    return prepare(parse(["--images", str(images), "--auth", str(auth), *flags], {}), {})


def test_limits_are_divided_among_parallel_shards(tmp_path: Path) -> None:
    """The user's limits are divided by the number of parallel shards, and never become zero."""
    given = job(
        tmp_path, "--shard=1/50", "--shard-parallelism=20", "--proc=10", "--bandwidth=40MB/s", "--drain=9"
    )
    registry = given.keyring.settings("r.io")

    assert (given.settings.limits.proc, given.settings.bandwidth, given.settings.drain) == (1, 2e6, 9.0)
    assert (registry.requests, registry.rate, registry.bandwidth) == (1, 0.5, 4e5)
    assert given.settings.limits.requests == job(tmp_path).settings.limits.requests


@pytest.mark.parametrize("flags", [(), ("--shard=1/50",)])
def test_limits_are_whole_without_shard_parallelism(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Without --shard-parallelism each run has the full limits, or none."""
    given = job(tmp_path, *flags)
    registry = given.keyring.settings("r.io")

    assert (registry.requests, registry.rate, registry.bandwidth) == (7, 10.0, 8e6)
    assert (given.settings.limits.proc, given.settings.bandwidth) == (None, None)


def test_invalid_rule_belongs_to_shard_0(tmp_path: Path) -> None:
    """An invalid rule belongs to shard 0; the others warn about it."""
    first, second = job(tmp_path, "--shard=0/2"), job(tmp_path, "--shard=1/2")

    assert (len(first.rules.bad), first.warnings) == (1, ())
    assert second.rules.bad == ()
    [warning] = second.warnings
    assert (warning.name, warning.level) == ("config.rule_invalid", "warning")
    assert warning.message.endswith("; shard 0 counts it as failed")
    assert len(first.rules.rules[0].targets) + len(second.rules.rules[0].targets) == 30


def test_each_shard_has_its_own_records_folder(tmp_path: Path) -> None:
    """Each shard has a folder in that of the records, whose names sort by number."""
    assert str(job(tmp_path, "--shard=17/200", "--records=here").settings.records) == "here/017-of-200"
    assert str(job(tmp_path, "--shard=0/1").settings.records) == "records/0-of-1"
