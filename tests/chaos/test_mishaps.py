"""Mishaps happen, report it, and record their consequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.records.store import Records
from tests.chaos.expect import Pair, Place
from tests.chaos.mishaps import Mishaps
from tests.chaos.watch import Watched
from tests.registry.asking import ask
from tests.registry.content import image, index, layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOP = index(image(layer("one")), image(layer("two"), architecture="arm64"))


@pytest.fixture
def registry() -> Iterator[Watched]:
    """A registry that is both source and destination, with an image and its copy."""
    with Watched(auth="token") as made:
        made.add("team/app", TOP, "v1")
        made.add("copy/app", TOP, "v1")
        yield made


@pytest.fixture
def mishaps(registry: Watched, tmp_path: Path) -> Mishaps:
    """The mishaps of that registry, and existing records."""
    records, _ = Records.open(tmp_path / "records", run="1")
    records.close()
    return Mishaps([registry], 1, tmp_path)


@pytest.mark.parametrize("choice", [0.0, 0.4, 0.99])
def test_destination_loses_content(registry: Watched, mishaps: Mishaps, choice: float) -> None:
    """A destination, never a source, loses one blob or child, and the repository is recorded."""
    before = len(TOP.all_blobs) + len(list(TOP.walk()))

    assert mishaps.happen("lose", 0, choice)

    left = {name: len(held.blobs) + len(held.manifests) for name, held in registry.held()}
    assert {"team/app": before, "copy/app": before - 1} == left
    assert {(registry.address, "copy/app")} == mishaps.lapsed


def test_tag_is_lost_with_its_content(registry: Watched, mishaps: Mishaps) -> None:
    """A tag is lost together with content below it."""
    name = registry.address
    pair = Pair(Place(name, "team/app", "v1"), Place(name, "copy/app", "v1"))

    assert mishaps.lose_tag([pair], 0.5)

    assert {} == registry.tags("copy/app")
    assert len(registry.manifests("copy/app")) == len(list(TOP.walk())) - 1
    assert not mishaps.lose_tag([pair], 0.5)


def test_registry_goes_down_once(registry: Watched, mishaps: Mishaps) -> None:
    """A registry that is down refuses connections, goes down only once, and is back after the run."""
    assert mishaps.happen("down", 0, 1.0)
    assert not mishaps.happen("down", 0, 1.0)
    with pytest.raises(ConnectionRefusedError):
        ask(registry.address, "GET", "/v2/")

    mishaps.settle()

    assert 401 == ask(registry.address, "GET", "/v2/").status


@pytest.mark.parametrize("kind", ["expire", "password", "source moved", "pickle"])
def test_other_faults_happen(registry: Watched, mishaps: Mishaps, kind: str) -> None:
    """Each of the other faults happens."""
    assert mishaps.happen(kind, 0, 0.7)

    assert ("v-new" in registry.tags("team/app")) == (kind == "source moved")
    assert len(registry.passwords) == 1 + (kind == "password")


@pytest.mark.parametrize("choice", [0.0, 0.05, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["records removed", "records damaged"])
def test_records_are_removed_or_damaged(tmp_path: Path, mishaps: Mishaps, kind: str, choice: float) -> None:
    """Existing records are removed or damaged."""
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    assert mishaps.happen(kind, 0, choice)

    assert before != {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
