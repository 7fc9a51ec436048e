"""Tags that are never moved, digests that wait, and the forms of an index, as a user sees them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.test_selection import architectures
from tests.registry.content import image, index, layer
from tests.registry.faults import Fault, Reply

if TYPE_CHECKING:
    from tests.e2e.command import Command, Result
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

TAGS = ("v1.0", "v1.1", "nightly")


@pytest.fixture
def pair(command: Command, scripted: Scripted) -> tuple[Registry, Registry]:
    """A source of three tags, and a mirror that has other content under two of them."""
    source, mirror = scripted(), scripted()
    for tag in TAGS:
        source.add("team/app", image(layer(tag)), tag)
    for tag in ("v1.0", "nightly"):
        mirror.add("copy", image(layer("old")), tag)
    command.insecure(source.address, mirror.address)
    return source, mirror


def copy(command: Command, pair: tuple[Registry, Registry], *flags: str, **options: Any) -> Result:
    """Copy with one rule that has these options."""
    source, mirror = pair
    command.write("images.json", {f"{source.address}/team/app": {"to": f"{mirror.address}/copy", **options}})
    return command.run(*flags)


def counts(result: Result) -> dict[str, int]:
    """The images by their results, without empty ones."""
    images = json.loads(result.output)["images"]
    return {name: count for name, count in images.items() if count and name != "total"}


def test_kept_tag_is_not_moved(command: Command, pair: tuple[Registry, Registry]) -> None:
    """A kept tag costs no request of its own, is not moved, and counts as kept and as a success."""
    source, mirror = pair
    before = mirror.manifest("copy", "v1.0")

    result = copy(command, pair, "--output-success-images=ok.json", keep="v*")

    assert 0 == result.code
    assert "0 tasks failed, 1 kept as they are" in result.text
    assert before == mirror.manifest("copy", "v1.0")
    assert mirror.manifest("copy", "v1.1") is not None
    assert not list(source.requests(path="/manifests/v1.0"))
    assert {f"{source.address}/team/app:{tag}" for tag in TAGS} == json.loads(
        (command.folder / "ok.json").read_text()
    ).keys()


def test_plan_and_verify_count_kept(command: Command, pair: tuple[Registry, Registry]) -> None:
    """A plan counts kept tags; a verification accepts a kept tag as complete, but no other difference."""
    assert {"to_copy": 2, "kept": 1} == counts(copy(command, pair, "plan", "--json", keep="v*"))
    copy(command, pair, keep="v*")

    assert 0 == copy(command, pair, "verify", keep="v*").code
    assert 1 == copy(command, pair, "verify").code


def test_young_images_are_held(command: Command, pair: tuple[Registry, Registry]) -> None:
    """A first run with min_age holds everything and says how to begin; old enough images are copied later."""
    first = copy(command, pair, min_age="72h")
    assert (0, 1) == (first.code, first.text.count("the quarantine of min_age begins"))
    assert "3 held until old enough" in first.text

    for _ in range(20):
        later = copy(command, pair, "--json", min_age="1s")
        if "held" not in counts(later):
            break

    assert {"copied", "unchanged"} >= counts(later).keys()
    assert all(pair[1].manifest("copy", tag) == pair[0].manifest("team/app", tag) for tag in TAGS)


def test_held_is_in_no_list(command: Command, pair: tuple[Registry, Registry]) -> None:
    """A held image is neither a success nor a failure, and a verification ignores it."""
    lists = ("--output-success-images=ok.json", "--output-failed-images=failed.yaml")
    assert 0 == copy(command, pair, *lists, min_age="72h").code

    assert {} == json.loads((command.folder / "ok.json").read_text())
    assert "team/app" not in (command.folder / "failed.yaml").read_text()
    assert {"held": 3} == counts(copy(command, pair, "verify", "--json", min_age="72h"))


def test_trust_existing(command: Command, pair: tuple[Registry, Registry]) -> None:
    """With --trust-existing an index that the destination already has is not held."""
    source, mirror = pair
    for registry, repository in ((source, "team/app"), (mirror, "copy")):
        registry.add(repository, index(image(layer("a")), image(layer("b"))), "v2")

    held = copy(command, pair, "plan", "--json", min_age="72h", tags="v2")
    trusted = copy(command, pair, "--json", "--trust-existing", min_age="72h", tags="v2")

    assert {"held": 1} == counts(held)
    assert {"unchanged": 1} == counts(trusted)


@pytest.mark.parametrize(
    ("form", "expected"), [("trim", {"amd64"}), ("sparse", {"amd64", "arm64"}), ("single", None)]
)
def test_index_option_decides_the_form(
    command: Command, scripted: Scripted, form: str, expected: set[str] | None
) -> None:
    """One platform of an index is written as a new index, the original one, or the image itself."""
    source, mirror = scripted(), scripted(check_references=False)
    amd = image(layer("amd"), architecture="amd64")
    source.add("team/app", index(amd, image(layer("arm"), architecture="arm64")), "v1")
    command.insecure(source.address, mirror.address)

    result = copy(command, (source, mirror), platforms="linux/amd64", index=form)

    assert 0 == result.code
    if expected is None:
        assert amd.manifest == mirror.manifest("copy", "v1")
    else:
        assert expected == architectures(mirror, "copy", "v1")
    assert 0 == copy(command, (source, mirror), "verify", platforms="linux/amd64", index=form).code


def test_force_does_not_end_a_quarantine(command: Command, pair: tuple[Registry, Registry]) -> None:
    """--force pushes existing images again; images that are too young are held nevertheless."""
    copied = copy(command, pair, "--json", "--force", min_age="72h", keep="v*")

    assert {"held": 3} == counts(copied)


@pytest.mark.parametrize("options", [{"keep": "v*"}, {"min_age": "72h"}], ids=str)
def test_retry_keeps_and_holds(
    command: Command, pair: tuple[Registry, Registry], options: dict[str, str]
) -> None:
    """An image that failed before it was known to be kept or held is so with the list of failures, too."""
    fault = Fault(action=Reply(status=403), path=r"/copy/(tags/list|manifests/v1.0)", times=None)
    pair[1].fault(fault)
    before = pair[1].tags("copy")["v1.0"]
    failed = copy(command, pair, "--output-failed-images=failed.yaml", tags="v1.0", **options)
    pair[1].clear_faults()

    result = command.run("--images=failed.yaml")

    assert (1, 0) == (failed.code, result.code), result.text
    assert before == pair[1].tags("copy")["v1.0"]


def test_digests_are_not_held(command: Command, pair: tuple[Registry, Registry]) -> None:
    """An image that a rule names by its digest is copied at once, also under a tag."""
    source, mirror = pair
    digest = source.tags("team/app")["v1.1"]
    rule = {"to": f"{mirror.address}/copy:pinned", "min_age": "72h"}
    command.write("images.json", {f"{source.address}/team/app@{digest}": rule})

    assert 0 == command.run().code
    assert digest == mirror.tags("copy")["pinned"]
