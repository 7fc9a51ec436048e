"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.command import Command
from tests.real.images import Layout

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The command in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    return Command(folder)


@pytest.fixture(scope="session")
def layout(needs_real: None, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Real images: `multi` (two platforms, attested), `pair`, `nested`, `single`, `artifact`, `bare`."""
    made = Layout(tmp_path_factory.mktemp("images") / "layout")
    amd = made.make_image("amd", platform="linux/amd64", layers=3, word="one")
    arm = made.make_image("arm", platform="linux/arm64/v8", layers=3, word="one")
    made.tag("single", amd)
    multi = made.make_index([amd, arm, made.make_attestation(amd)], annotations={"made": "for tests"})
    made.tag("multi", multi)
    made.tag("pair", made.make_index([amd, arm]))
    inner = made.make_index([arm])
    made.tag("nested", made.make_index([amd, inner]))
    bare = {key: amd[key] for key in ("mediaType", "digest", "size")}
    made.tag("bare", made.make_index([bare, arm]))
    made.tag("artifact", made.make_artifact(b"a chart", kind="application/vnd.example.chart.v1+tar"))
    return made
