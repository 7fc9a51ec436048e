"""Destinations that refuse companions or show them late, and sources whose lists are broken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pipeline.model.companions import fallback_tag
from tests.e2e.figures import kinds
from tests.e2e.signed import COPY, SBOM, SIGNATURE, SIGNED, copy, fill, listed
from tests.registry.content import OCI_INDEX, artifact, image, index, layer
from tests.registry.faults import Fault, Reply

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.registry.content import Content
    from tests.registry.fixtures import Scripted


@pytest.mark.parametrize(("flags", "code"), [((), 0), (("--referrers=copied",), 1)])
def test_refused_artifact_is_a_warning(
    command: Command, scripted: Scripted, flags: tuple[str, ...], code: int
) -> None:
    """A destination that refuses artifacts is a warning, but fails the image if the user asked for them."""
    source, mirror = scripted(referrers="yes"), scripted()
    source.add("team/app", SIGNED, "v1")
    fill(source, "team/app", SIGNATURE)
    mirror.fault(
        Fault(action=Reply(status=405), method="PUT", path=f"/manifests/{SIGNATURE.digest}", times=None)
    )

    result = copy(command, source, mirror, *flags, "--retries=0")

    assert (result.code, "v1" in mirror.tags(COPY)) == (code, not code), result.text
    (line,) = result.events("image.failed" if code else "image.companions_missing")
    assert line["code"] == "REFERRERS_REFUSED"


@pytest.mark.parametrize("again", ["recommended", "the same"])
@pytest.mark.parametrize("signed", [SIGNED, index(SIGNED)], ids=["image", "index"])
def test_refused_companions_are_copied_next_run(
    command: Command, scripted: Scripted, again: str, signed: Content
) -> None:
    """Refused companions are copied by the next run, recommended or the same; then no further one."""
    source, mirror = scripted(referrers="yes"), scripted()
    signature = artifact(b"of the tag", subject=signed)
    source.add("team/app", signed, "v1")
    source.add("team/app", signature)
    source.add("team/app", image(layer("without")), "v2")
    mirror.fault(
        Fault(action=Reply(status=405), method="PUT", path=f"/manifests/{signature.digest}", times=None)
    )
    command.rules({f"{source.address}/team/app": f"{mirror.address}/{COPY}"})
    command.insecure(source.address, mirror.address)
    listing = command.folder / "there.yaml"

    refused = command.run("--json", "--output-success-images", str(listing))
    failed = (command.folder / "records" / "failed.yaml").read_text()
    mirror.clear_faults()
    words = json.loads(refused.output)["try_again"][1:]
    accepted = command.run(*words) if again == "recommended" else command.run()
    source.reset()
    last = command.run()

    assert (refused.code, set(mirror.tags(COPY)) >= {"v1", "v2"}) == (0, True), refused.text
    assert json.loads(refused.output)["companions"] == {"stored": 0, "missing": 1}
    assert 'referrers: "always"' in failed
    assert (":v1" in failed, ":v2" in failed) == (True, False)
    assert "# 1 companion (signatures, SBOMs) missing" in listing.read_text()
    assert (accepted.code, accepted.finish["companions"]) == (0, 1), accepted.text
    assert listed(mirror, signed) == {signature.digest}
    assert ("companions_missing" in last.finish, kinds(source.requests()).get("GET manifest")) == (
        False,
        None,
    )


@pytest.mark.parametrize(("flags", "code"), [((), 0), (("--referrers=copied",), 1)])
def test_failing_referrers_list_is_a_warning(
    command: Command, scripted: Scripted, flags: tuple[str, ...], code: int
) -> None:
    """Lists of referrers that answer 500 are a warning for each image, unless the user asked for them."""
    source, mirror = scripted(), scripted()
    for number in range(12):
        source.add("team/app", image(layer(str(number))), f"v{number}")
    source.fault(Fault(action=Reply(status=500), path="/referrers/", times=None))
    command.rules({f"{source.address}/team/app": f"{mirror.address}/{COPY}"})
    command.insecure(source.address, mirror.address)

    result = command.run("--retries=1", *flags)

    assert result.code == code, result.text
    assert len(mirror.tags(COPY)) == (0 if code else 12)
    assert len(result.events("image.companions_missing")) == (0 if code else 12)


def test_late_fallback_tag_is_read_again(command: Command, scripted: Scripted) -> None:
    """A destination that shows a pushed fallback tag late is asked again."""
    source, mirror = scripted(), scripted()
    source.add("team/app", SIGNED, "v1")
    fill(source, "team/app", SIGNATURE)
    stale = Fault(
        action=Reply(status=404), method="GET", path=f"/manifests/{fallback_tag(SIGNED.digest)}", times=2
    )
    mirror.fault(stale)

    result = copy(command, source, mirror)

    assert result.code == 0, result.text
    assert listed(mirror, SIGNED) == {SIGNATURE.digest}


def test_late_referrers_api_is_asked_again(command: Command, scripted: Scripted) -> None:
    """A destination whose API lists a pushed artifact late is asked again, and gets no fallback tag."""
    source, mirror = scripted(), scripted(referrers="yes")
    source.add("team/app", SIGNED, "v1")
    fill(source, "team/app", SIGNATURE, SBOM)
    mirror.fault(
        Fault(
            action=Reply(
                status=200,
                headers={"Content-Type": OCI_INDEX},
                body='{"schemaVersion": 2, "manifests": []}',
            ),
            method="GET",
            path="/referrers/",
            times=2,
        )
    )
    command.rules({f"{source.address}/team/app": f"{mirror.address}/{COPY}"})
    command.insecure(source.address, mirror.address)

    result = command.run()

    assert result.code == 0, result.text
    assert len(mirror.requests(method="GET", path="/referrers/")) == 3
    assert set(mirror.tags(COPY)) == {"v1"}
    assert {SIGNATURE.digest, SBOM.digest} <= set(mirror.manifests(COPY))
