"""Signatures and SBOMs are copied before their image's tag, and the destination keeps its own."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from pipeline.model.companions import fallback_tag
from tests.e2e.command import Command, children
from tests.e2e.figures import kinds
from tests.e2e.signed import COPY, LOCAL, OF_SBOM, SBOM, SIGNATURE, SIGNED, copy, fill, listed
from tests.registry.content import artifact, image, index, layer
from tests.registry.faults import Fault, Stall

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.fixtures import Scripted


@pytest.mark.parametrize("api", ["no", "yes", "filters"])
@pytest.mark.parametrize("there", ["no", "yes"])
def test_referrers_are_copied_before_the_tag(
    command: Command, scripted: Scripted, api: str, there: str
) -> None:
    """Referrers and their referrers are copied before the tag, with and without the API on either side."""
    source, mirror = scripted(referrers=api, referrers_page=1), scripted(referrers=there)
    source.add("team/app", SIGNED, "v1")
    fill(source, "team/app", SIGNATURE, SBOM, OF_SBOM)

    result = copy(command, source, mirror)

    assert result.code == 0, result.text
    assert {SIGNATURE.digest, SBOM.digest, OF_SBOM.digest} <= set(mirror.manifests(COPY))
    if there == "no":
        assert [listed(mirror, SIGNED), listed(mirror, SBOM)] == [
            {SIGNATURE.digest, SBOM.digest},
            {OF_SBOM.digest},
        ]
    assert set(mirror.tags(COPY)) == {"v1"} | (
        {fallback_tag(each.digest) for each in (SIGNED, SBOM)} if there == "no" else set()
    )
    puts = [each.path for each in mirror.requests(path="/manifests/") if each.method == "PUT"]
    assert puts[-1].endswith("/v1")
    assert command.run("verify").code == 0


def test_fallback_tag_keeps_destination_entries(command: Command, scripted: Scripted) -> None:
    """The destination's fallback tag keeps its entries when the source's are added."""
    source, mirror = scripted(), scripted()
    source.add("team/app", SIGNED, "v1")
    fill(source, "team/app", SIGNATURE)
    mirror.add(COPY, SIGNED)
    fill(mirror, COPY, LOCAL)

    assert copy(command, source, mirror).code == 0

    assert listed(mirror, SIGNED) == {SIGNATURE.digest, LOCAL.digest}


def test_cosign_tags_follow_their_image(command: Command, scripted: Scripted) -> None:
    """Cosign's tags of a copied image are copied with it, those of other images are not."""
    source, mirror = scripted(), scripted()
    source.add("team/app", SIGNED, "v1")
    own, other = f"{fallback_tag(SIGNED.digest)}.sig", f"sha256-{'0' * 64}.sig"
    source.add("team/app", image(layer("signature")), own)
    source.add("team/app", image(layer("another")), other)

    assert copy(command, source, mirror).code == 0

    assert {"v1", own} == set(mirror.tags(COPY))


@pytest.mark.parametrize("there", ["no", "yes"])
@pytest.mark.parametrize("expression", ["^v", "."])
def test_companions_of_tags_from_an_expression(
    command: Command, scripted: Scripted, expression: str, there: str
) -> None:
    """Companions of the tags that an expression selects are copied, whatever other tags it matches."""
    source, mirror = scripted(), scripted(referrers=there)
    source.add("team/app", SIGNED, "v1")
    fill(source, "team/app", SIGNATURE)
    source.add("team/app", image(layer("signature")), f"{fallback_tag(SIGNED.digest)}.sig")
    command.rules({f"{source.address}/team/app:/{expression}/": f"{mirror.address}/{COPY}"})
    command.insecure(source.address, mirror.address)

    result = command.run()

    assert result.code == 0, result.text
    assert SIGNATURE.digest in mirror.manifests(COPY)
    assert f"{fallback_tag(SIGNED.digest)}.sig" in mirror.tags(COPY)
    assert there == "yes" or listed(mirror, SIGNED) == {SIGNATURE.digest}
    assert command.run("verify", "--referrers=always").code == 0


@pytest.mark.parametrize(
    ("flag", "kept"),
    [
        ("--referrers=no", set()),
        ("--referrers=application/spdx*", {SBOM.digest}),
        ("--referrers=copied", {SIGNATURE.digest, SBOM.digest}),
    ],
)
def test_referrers_flag_selects_artifacts(
    command: Command, scripted: Scripted, flag: str, kept: set[str]
) -> None:
    """--referrers says which artifacts are copied."""
    source, mirror = scripted(referrers="yes"), scripted(referrers="yes")
    source.add("team/app", SIGNED, "v1")
    fill(source, "team/app", SIGNATURE, SBOM)

    assert copy(command, source, mirror, flag).code == 0

    assert set(mirror.manifests(COPY)) == {SIGNED.digest} | kept


def test_later_artifact_is_copied_with_always(command: Command, scripted: Scripted) -> None:
    """An artifact that is pushed after its image was copied is copied with `always`, and only then."""
    source, mirror = scripted(referrers="yes"), scripted(referrers="yes")
    source.add("team/app", SIGNED, "v1")
    assert copy(command, source, mirror).code == 0
    fill(source, "team/app", SIGNATURE)
    source.reset()

    unchanged = copy(command, source, mirror)
    asked, before = kinds(source.requests()), set(mirror.manifests(COPY))
    always = copy(command, source, mirror, "--referrers=always")

    assert [unchanged.code, always.code] == [0, 0]
    assert (asked, before) == ({"HEAD manifest": 1}, {SIGNED.digest})
    assert set(mirror.manifests(COPY)) == {SIGNED.digest, SIGNATURE.digest}


def test_verify_names_missing_companions(command: Command, scripted: Scripted) -> None:
    """Verify lists missing companions, and fails because of them under `always`."""
    source, mirror = scripted(referrers="yes"), scripted(referrers="yes")
    source.add("team/app", SIGNED, "v1")
    assert copy(command, source, mirror).code == 0
    fill(source, "team/app", SIGNATURE)

    copied, always = command.run("verify"), command.run("verify", "--referrers=always")

    assert [copied.code, always.code] == [0, 1], always.text
    assert len(copied.events("image.companions_missing")) == 1


def test_source_without_api_is_probed_once(command: Command, scripted: Scripted) -> None:
    """A source without the API is probed once, however many images are copied."""
    source, mirror = scripted(), scripted()
    for number in range(5):
        source.add("team/app", image(layer(str(number))), f"v{number}")
    command.rules({f"{source.address}/team/app": f"{mirror.address}/{COPY}"})
    command.insecure(source.address, mirror.address)

    assert command.run().code == 0

    assert (1, 1) == tuple(kinds(source.requests())[each] for each in ("GET referrers", "GET tags"))


@pytest.mark.parametrize("there", ["no", "yes"])
def test_rule_for_every_tag_copies_fallback_tags(command: Command, scripted: Scripted, there: str) -> None:
    """A rule for every tag copies the entries of fallback tags, also later; an API gets no such tag."""
    source, mirror = scripted(), scripted(referrers=there)
    source.add("team/app", SIGNED, "v1")
    fill(source, "team/app", SIGNATURE)
    command.rules({f"{source.address}/team/app": f"{mirror.address}/{COPY}"})
    command.insecure(source.address, mirror.address)
    fallback = fallback_tag(SIGNED.digest)

    first = command.run()
    mirror.reset()
    second = command.run()
    asked = kinds(mirror.requests())
    fill(source, "team/app", SIGNATURE, SBOM)
    third = command.run()

    assert [each.code for each in (first, second, third)] == [0, 0, 0], third.text
    assert (second.finish["unchanged"], asked) == (2, {"HEAD manifest": 2})
    assert {SIGNATURE.digest, SBOM.digest} <= set(mirror.manifests(COPY))
    assert (fallback in mirror.tags(COPY)) == (there == "no")
    assert command.run("verify").code == 0


@pytest.mark.parametrize("there", ["no", "yes"])
def test_always_writes_nothing_if_all_exist(command: Command, scripted: Scripted, there: str) -> None:
    """`always` looks for companions of unchanged images, and writes nothing if all exist."""
    source, mirror = scripted(referrers="yes"), scripted(referrers=there)
    source.add("team/app", SIGNED, "v1")
    fill(source, "team/app", SIGNATURE, SBOM)
    assert copy(command, source, mirror, "--referrers=always").code == 0
    mirror.reset()

    again = copy(command, source, mirror, "--referrers=always")

    assert again.code == 0, again.text
    assert not {kind for kind in kinds(mirror.requests()) if kind.startswith(("PUT", "POST"))}
    assert again.finish["unchanged"] == 1


@pytest.mark.parametrize(("tags", "lists", "heads"), [(1, 1, 0), (9, 4, 4)])
def test_tag_list_is_read_if_cheaper(
    command: Command, scripted: Scripted, tags: int, lists: int, heads: int
) -> None:
    """For a named tag the tag list is read if that costs no more than a request for each tag."""
    source, mirror = scripted(page=2), scripted()
    source.add("team/app", SIGNED, *(f"v{number}" for number in range(1, tags + 1)))

    assert copy(command, source, mirror).code == 0

    asked = kinds(source.requests())
    assert (asked["GET tags"], asked["HEAD manifest"] + asked["GET manifest"]) == (lists, 2 + heads)


def test_companions_are_counted(command: Command, scripted: Scripted) -> None:
    """Stored companions are counted in the summary, in JSON, in metrics and in the image's log line."""
    source, mirror = scripted(referrers="yes"), scripted(referrers="yes")
    source.add("team/app", SIGNED, "v1")
    fill(source, "team/app", SIGNATURE, SBOM)

    planned = copy(command, source, mirror, "plan", "--json")
    result = copy(command, source, mirror, "--metrics-file", str(command.folder / "metrics.prom"))

    assert json.loads(planned.output)["companions"] == {"stored": 2, "missing": 0}
    assert result.finish["companions"] == 2
    assert [line["companions"] for line in result.events("image.done")] == ["2"]
    assert 'imagesyncer_companions_total{outcome="stored"} 2' in (command.folder / "metrics.prom").read_text()


def test_source_with_api_and_fallback_tag(command: Command, scripted: Scripted) -> None:
    """A source with the API, and with older referrers only under the fallback tag, provides both."""
    source, mirror = scripted(), scripted(referrers="yes")
    source.add("team/app", SIGNED, "v1")
    older = artifact(b"older")  # has no subject, so the API never lists it
    source.add("team/app", index(older), fallback_tag(SIGNED.digest))
    source.add("team/app", SIGNATURE)
    source.set(referrers="yes")

    assert copy(command, source, mirror).code == 0

    assert {older.digest, SIGNATURE.digest} <= set(mirror.manifests(COPY))


@pytest.mark.parametrize("if_match", [False, True])
def test_two_runs_add_to_one_fallback_tag(
    command: Command, scripted: Scripted, tmp_path: Path, *, if_match: bool
) -> None:
    """Two runs add to one fallback tag at once: older entries are kept, and with If-Match all are."""
    sources, mirror = (scripted(), scripted()), scripted(if_match=if_match)
    (tmp_path / "other").mkdir()
    other = Command(tmp_path / "other")
    fallback = fallback_tag(SIGNED.digest)
    for source, each in zip(sources, (SIGNATURE, SBOM), strict=True):
        source.add("team/app", SIGNED, "v1")
        fill(source, "team/app", each)
    mirror.add(COPY, SIGNED)
    fill(mirror, COPY, LOCAL)
    # The first run has read the tag, and waits with its PUT until the second one has ended.
    mirror.fault(Fault(action=Stall(), method="PUT", path=f"/manifests/{fallback}$"))
    command.rules({f"{sources[0].address}/team/app:v1": f"{mirror.address}/{COPY}"})
    command.insecure(sources[0].address, mirror.address)
    first = command.start()
    mirror.wait_for(1, method="PUT", path=f"/manifests/{fallback}$")

    second = copy(other, sources[1], mirror)
    mirror.release()
    ended = command.end(first)

    assert [second.code, ended.code] == [0, 0], ended.text
    assert {SIGNATURE.digest, LOCAL.digest} <= listed(mirror, SIGNED)
    assert not if_match or SBOM.digest in listed(mirror, SIGNED)


def test_kill_before_the_fallback_tag(command: Command, scripted: Scripted) -> None:
    """After SIGKILL between an artifact and the fallback tag, the next run lists it."""
    source, mirror = scripted(), scripted()
    source.add("team/app", SIGNED, "v1")
    fill(source, "team/app", SIGNATURE, SBOM)
    mirror.fault(Fault(action=Stall(), method="PUT", path=f"/manifests/{fallback_tag(SIGNED.digest)}$"))
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/{COPY}"})
    command.insecure(source.address, mirror.address)
    process = command.start()
    mirror.wait_for(1, method="PUT", path=f"/manifests/{fallback_tag(SIGNED.digest)}$")
    processes = list(children(process.pid))
    for pid in (*processes, process.pid):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    mirror.release()
    before = dict(mirror.tags(COPY))

    result = command.run()

    assert result.code == 0, result.text
    assert "v1" not in before
    assert listed(mirror, SIGNED) == {SIGNATURE.digest, SBOM.digest}
    assert "v1" in mirror.tags(COPY)


def test_quarantine_with_signatures_only(command: Command, scripted: Scripted) -> None:
    """A rule with quarantine and a type of signatures holds the image, then copies it with only these."""
    source, mirror = scripted(referrers="yes"), scripted(referrers="yes")
    bundle = artifact(b"bundle", kind="application/vnd.dev.sigstore.bundle.v0.3+json", subject=SIGNED)
    source.add("acme/agent", SIGNED, "4.0.1")
    fill(source, "acme/agent", bundle, SBOM)
    rule = {
        "to": f"{mirror.address}/acme/agent",
        "tags": {"versions": "^4", "newest": 5},
        "min_age": "72h",
        "referrers": ["application/vnd.dev.sigstore.bundle*"],
    }
    command.write("images.yaml", {f"{source.address}/acme/agent": rule})
    command.insecure(source.address, mirror.address)

    held = command.run()
    command.write("images.yaml", {f"{source.address}/acme/agent": rule | {"min_age": "1s"}})
    for _ in range(20):
        later = command.run()
        if not later.finish["held"]:
            break

    assert (held.code, held.finish["held"], later.code) == (0, 1, 0), later.text
    assert set(mirror.manifests("acme/agent")) == {SIGNED.digest, bundle.digest}
