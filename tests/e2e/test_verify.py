"""`verify`: complete images cost few requests, and anything missing is found and named."""

from __future__ import annotations

import json
import re
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from pipeline import __version__
from tests.e2e.figures import contents, kinds, results, summary
from tests.e2e.test_main_job import KINDS
from tests.e2e.test_peculiar import fill, prepare
from tests.registry.content import attestation, image, index, layer
from tests.registry.faults import Corrupt, Fault, Stall, throttle

if TYPE_CHECKING:
    from typing import Any

    from tests.e2e.command import Command
    from tests.real.fixtures import StartRegistry
    from tests.real.images import Layout
    from tests.real.servers import DockerRegistry
    from tests.registry.content import Content
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry


def copied(command: Command, source: Registry, mirror: Registry, *flags: str) -> None:
    """Copy everything, and clear the log of requests."""
    result = command.run(*flags)
    assert result.code == 0, result.text
    source.reset()
    mirror.reset()


def multi() -> Content:
    """An index of two images that share a layer, one of them attested: 3 manifests below, 7 blobs."""
    base = layer("base", size=10_000)
    amd = image(base, layer("amd"), architecture="amd64")
    return index(amd, image(base, layer("arm"), architecture="arm64"), attestation(amd))


def test_requests_for_an_index(command: Command, scripted: Scripted) -> None:
    """An index costs two HEADs, a GET of each manifest and a HEAD of each blob, and the source one HEAD."""
    source, mirror = scripted(), scripted()
    made = multi()
    source.add("team/app", made, "v1")
    prepare(command, source, mirror)
    copied(command, source, mirror)
    before = contents(command.folder)

    result = command.run("verify")

    assert (result.code, result.output.splitlines()[0]) == (0, "verify: 1 image: 1 complete"), result.text
    assert contents(command.folder) == before
    manifests, blobs = len({each.digest for each in made.walk()}), len(made.all_blobs)
    assert kinds(source.requests()) == {"GET tags": 1, "HEAD manifest": 1, "GET referrers": 1}
    expected = {"HEAD manifest": 1, "GET manifest": manifests, "HEAD blob": blobs}
    assert kinds(mirror.requests()) == expected


def test_every_kind_is_verified(command: Command, docker_registry: StartRegistry, layout: Layout) -> None:
    """Every kind of image between real registries is verified, and --deep reads every byte."""
    source, mirror = docker_registry(), docker_registry()
    send(command, source, mirror, layout)
    stored, seen = contents(mirror.storage), len(mirror.requests())

    assert command.run("verify").code == 0
    result = command.run("verify", "--deep", "--json")

    found = summary(result)
    assert (result.code, found["images"]["complete"], found["deep"]) == (0, len(KINDS), True)
    assert found["registries"][mirror.address]["received"] > 250_000
    assert found["registries"][source.address]["received"] == 0
    assert contents(mirror.storage) == stored
    assert {request.method for request in mirror.requests()[seen:]} == {"GET", "HEAD"}


def send(command: Command, source: DockerRegistry, mirror: DockerRegistry, layout: Layout) -> None:
    """One of every kind, copied."""
    for kind in KINDS:
        layout.send(layout.tagged(kind), source.endpoint, f"team/app:{kind}")
    command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)
    assert command.run().code == 0


@pytest.mark.parametrize("lost", ["blob", "child"])
def test_verify_finds_content_lost_from_storage(
    command: Command, docker_registry: StartRegistry, layout: Layout, lost: str
) -> None:
    """Content that a real registry lost below a recorded tag is found by verify but not by a run."""
    source, mirror = docker_registry(), docker_registry()
    send(command, source, mirror, layout)
    digest = lose(mirror, layout, lost)
    assert command.run().code == 0

    result = command.run("verify")

    assert result.code == 1
    failed = {event["destination"]: event["msg"] for event in result.events("image.failed")}
    assert f"{mirror.address}/copy/app:multi" in failed
    assert all(digest in words for words in failed.values())
    assert "what to do: run again with --force to copy it" in result.output
    assert command.run("--force").code == 0
    assert command.run("verify").code == 0


def lose(mirror: DockerRegistry, layout: Layout, what: str) -> str:
    """Let the registry lose a part of an image; returns its digest."""
    repository = mirror.storage / "docker/registry/v2/repositories/copy/app"
    top = layout.read(layout.tagged("multi")["digest"])
    child = json.loads(top)["manifests"][1]["digest"]
    if what == "child":
        shutil.rmtree(repository / "_manifests/revisions/sha256" / child.partition(":")[2])
        return str(child)
    blob = json.loads(layout.read(child))["layers"][-1]["digest"]
    shutil.rmtree(repository / "_layers/sha256" / blob.partition(":")[2])
    shutil.rmtree(mirror.storage / "docker/registry/v2/blobs/sha256" / blob[7:9] / blob[7:])
    return str(blob)


def test_moved_tag_is_found(command: Command, scripted: Scripted) -> None:
    """A tag that points at another digest is found, with both digests; the run that is advised copies it."""
    source, mirror = scripted(), scripted()
    source.add("team/app", multi(), "v1")
    prepare(command, source, mirror)
    copied(command, source, mirror)
    other = image(layer("other"))
    mirror.add("copy/app", other, "v1")

    result = command.run("verify", "--json")

    found = summary(result)
    (row,) = found["list"]
    assert (result.code, row["result"]) == (1, "incomplete")
    assert (row["source_digest"], row["destination_digest"]) == (multi().digest, other.digest)
    assert (command.run().code, command.run("verify").code) == (0, 0)


def test_missing_tag_costs_two_heads(command: Command, scripted: Scripted) -> None:
    """A missing tag costs two HEADs and is named; the run that is advised copies it."""
    source, mirror = scripted(), scripted()
    source.add("team/app", multi(), "v1")
    prepare(command, source, mirror)

    result = command.run("verify")

    assert result.code == 1
    assert "404 MANIFEST_UNKNOWN" in result.output
    assert "what to do: run again to copy it" in result.output
    assert kinds(mirror.requests()) == {"HEAD manifest": 1}
    assert (command.run().code, command.run("verify").code) == (0, 0)


def test_deep_finds_changed_bytes(command: Command, scripted: Scripted) -> None:
    """Bytes that do not match their digest are found by --deep, and named."""
    source, mirror = scripted(), scripted()
    source.add("team/app", multi(), "v1")
    prepare(command, source, mirror)
    copied(command, source, mirror)
    digest = next(iter(multi().all_blobs))
    mirror.fault(Fault(action=Corrupt(offset=3), method="GET", path=f"/blobs/{digest}", times=None))

    assert command.run("verify").code == 0
    result = command.run("verify", "--deep")

    assert result.code == 1
    (failed,) = result.events("image.failed")
    assert f"cannot find the blob {digest}" in failed["msg"]
    assert "DIGEST_MISMATCH" in result.output


@pytest.mark.parametrize("flags", [(), ("--deep",)], ids=["told", "deep"])
def test_filtered_index_is_compared(command: Command, scripted: Scripted, flags: tuple[str, ...]) -> None:
    """With the filter of the run its own index is compared; without it everything is missing."""
    source, mirror = scripted(), scripted()
    nested = index(multi(), image(layer("single"), architecture="arm64"))
    source.add("team/app", nested, "nested")
    source.add("team/app", multi(), "multi")
    source.add("team/app", image(layer("single"), architecture="arm64"), "arm")
    prepare(command, source, mirror)
    copied(command, source, mirror, "--arch", "amd64")

    result = command.run("verify", "--json", "--arch", "amd64", *flags)

    found = summary(result)
    assert (result.code, found["images"]["complete"], found["images"]["skipped"]) == (0, 2, 1), result.text
    assert {row["platforms"] for row in found["list"]} == {"--arch amd64"}
    assert command.run("verify", *flags).code == 1
    child = next(
        each for each in multi().children if each.platform == {"os": "linux", "architecture": "amd64"}
    )
    del mirror.store.create("copy/app").manifests[child.digest]
    assert command.run("verify", "--arch", "amd64", *flags).code == 1


def test_legacy_kinds_are_verified(command: Command, scripted: Scripted) -> None:
    """Nested indexes, docker's types, schema 1 and artifacts are verified as they are copied."""
    source, mirror = scripted(schema1=True), scripted(schema1=True)
    fill(source)
    prepare(command, source, mirror)
    copied(command, source, mirror)

    result = command.run("verify", "--deep")

    assert (result.code, result.output.splitlines()[0]) == (0, "verify: 6 images: 6 complete"), result.text


def test_reserialised_index_is_equal(command: Command, scripted: Scripted) -> None:
    """The same index in another tool's serialisation counts as equal."""
    source, mirror = scripted(), scripted()
    made = multi()
    source.add("team/app", made, "v1")
    prepare(command, source, mirror)
    copied(command, source, mirror)
    again = json.dumps(json.loads(made.manifest), indent=3).encode()
    mirror.add_manifest("copy/app", again, made.media_type, ["v1"])

    result = command.run("verify")

    assert result.code == 0, result.text
    assert "serialised by another tool" in result.text


def test_migration_record_has_each_image(command: Command, scripted: Scripted) -> None:
    """The record of a migration has, for each image, both digests, the time, and the version."""
    source, mirror = scripted(), scripted()
    for number in range(3):
        source.add("team/app", image(layer(f"{number}")), f"v{number}")
    prepare(command, source, mirror)
    copied(command, source, mirror)
    mirror.forget_blob("copy/app", next(iter(image(layer("1")).all_blobs)))

    found = summary(command.run("verify", "--json", "--report", "proof.html"))

    assert (found["version"], found["verb"], found["exit_code"]) == (__version__, "verify", 1)
    pairs = [(f"{source.address}/team/app:v{n}", f"{mirror.address}/copy/app:v{n}") for n in range(3)]
    assert [(row["source"], row["destination"]) for row in found["list"]] == pairs
    assert list(results(found).values()) == ["complete", "incomplete", "complete"]
    assert all(_is_dated(row) and row["source_digest"] == row["destination_digest"] for row in found["list"])
    page = (command.folder / "proof.html").read_text()
    assert page.count("the same</td>") == 3
    for row in found["list"]:
        assert row["source_digest"] in page
    assert f"image-syncer {__version__}" in page
    assert "<script" not in page


def _is_dated(row: dict[str, Any]) -> bool:
    return str(row["when"]).startswith("20") and "T" in row["when"]


def test_verify_needs_no_push_right(command: Command, scripted: Scripted) -> None:
    """A verification needs no right to write: no token requests it."""
    source, mirror = scripted(), scripted()
    source.add("team/app", multi(), "v1")
    prepare(command, source, mirror)
    copied(command, source, mirror)
    mirror.set(auth="token", anonymous=True)

    result = command.run("verify")

    assert result.code == 0, result.text
    assert not any("push" in entry.query for entry in mirror.requests())


def test_pauses_make_nothing_missing(command: Command, scripted: Scripted) -> None:
    """A registry that asks for pauses gets them, and nothing counts as missing because of that."""
    source, mirror = scripted(), scripted()
    source.add("team/app", multi(), "v1")
    prepare(command, source, mirror)
    copied(command, source, mirror)
    mirror.fault(throttle(retry_after="1", method="HEAD", path="/blobs/", times=2))
    mirror.fault(throttle(retry_after="1", method="GET", path="/manifests/", times=1))

    result = command.run("verify")

    assert result.code == 0, result.text
    assert re.search(r" rate-limited (once|twice|3 times), waited ", result.output)


def test_one_pair_without_rules_file(command: Command, scripted: Scripted) -> None:
    """One pair can be verified without a file of rules."""
    source, mirror = scripted(), scripted()
    source.add("team/app", multi(), "v1")
    command.insecure(source.address, mirror.address)
    pair = (f"{source.address}/team/app:v1", f"{mirror.address}/copy/app")
    assert command.run("copy", *pair).code == 0

    assert command.run("verify", *pair).code == 0


def test_unreachable_side_exits_1(command: Command, scripted: Scripted) -> None:
    """An unreachable side ends it with 1, and is named."""
    mirror = scripted()
    command.rules({"127.0.0.1:1/team/app:v1": f"{mirror.address}/copy/app"})
    command.insecure(mirror.address, "127.0.0.1:1")

    result = command.run("verify", "--retries", "0")

    assert result.code == 1
    assert "source 127.0.0.1:1: UNREACHABLE, cannot be reached" in result.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_verification(
    command: Command, scripted: Scripted, number: signal.Signals, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A signal ends a verification at once, even in the middle of a body, and its folder is removed."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one", size=100_000)), "v1")
    prepare(command, source, mirror)
    copied(command, source, mirror)
    mirror.fault(Fault(action=Stall(after=10_000), method="GET", path="/blobs/", times=None))
    passing = tmp_path_factory.mktemp("p")
    process = command.start("verify", "--deep", TMPDIR=str(passing))
    mirror.wait_for(method="GET", path="/blobs/")

    process.send_signal(number)
    result = command.end(process)

    mirror.release()
    assert result.code == 128 + number
    assert list(passing.glob("image-syncer-*")) == []
