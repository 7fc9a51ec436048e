"""Signatures and SBOMs arrive before the tag of their image, and the destination loses none of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pipeline.model.companions import fallback_tag
from tests.e2e.figures import kinds
from tests.registry.content import artifact, image, index, layer
from tests.registry.faults import Fault, Reply
from tests.registry.referrers import subject_of

if TYPE_CHECKING:
    from tests.e2e.command import Command, Result
    from tests.registry.content import Content
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

SIGNED = image(layer("base"))
SIGNATURE = artifact(b"signature", subject=SIGNED)
SBOM = artifact(b"sbom", kind="application/spdx+json", subject=SIGNED)
OF_SBOM = artifact(b"signature of the sbom", subject=SBOM)
LOCAL = artifact(b"made at the destination", subject=SIGNED)
COPY = "copy"


def listed(registry: Registry, subject: Content, repository: str = COPY) -> set[str]:
    """What the fallback tag of a manifest lists."""
    content = registry.manifest(repository, fallback_tag(subject.digest)) or b'{"manifests": []}'
    return {entry["digest"] for entry in json.loads(content)["manifests"]}


def fill(registry: Registry, repository: str, *artifacts: Content) -> None:
    """Store artifacts, and where the registry has no API list them under fallback tags."""
    for each in artifacts:
        registry.add(repository, each)
    for subject in (SIGNED, SBOM):
        mine = [each for each in artifacts if subject_of(each.manifest) == subject.digest]
        if mine and registry.options.referrers == "no":
            registry.add(repository, index(*mine), fallback_tag(subject.digest))


def copy(command: Command, source: Registry, mirror: Registry, *flags: str, to: str = COPY) -> Result:
    """Copy the signed image by its tag."""
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/{to}"})
    command.insecure(source.address, mirror.address)
    return command.run(*flags)


@pytest.mark.parametrize("api", ["no", "yes", "filters"])
@pytest.mark.parametrize("there", ["no", "yes"])
def test_companions_come_along(command: Command, scripted: Scripted, api: str, there: str) -> None:
    """Referrers and theirs arrive before the tag, from and to registries with and without the API."""
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


def test_the_destinations_own_stay(command: Command, scripted: Scripted) -> None:
    """The destination's fallback tag keeps its entries when the source's are added."""
    source, mirror = scripted(), scripted()
    source.add("team/app", SIGNED, "v1")
    fill(source, "team/app", SIGNATURE)
    mirror.add(COPY, SIGNED)
    fill(mirror, COPY, LOCAL)

    assert copy(command, source, mirror).code == 0

    assert listed(mirror, SIGNED) == {SIGNATURE.digest, LOCAL.digest}


def test_cosign_tags_follow(command: Command, scripted: Scripted) -> None:
    """Cosign's tags of a copied image come along, those of others stay."""
    source, mirror = scripted(), scripted()
    source.add("team/app", SIGNED, "v1")
    own, other = f"{fallback_tag(SIGNED.digest)}.sig", f"sha256-{'0' * 64}.sig"
    source.add("team/app", image(layer("signature")), own)
    source.add("team/app", image(layer("another")), other)

    assert copy(command, source, mirror).code == 0

    assert {"v1", own} == set(mirror.tags(COPY))


@pytest.mark.parametrize(
    ("flag", "kept"),
    [
        ("--referrers=no", set()),
        ("--referrers=application/spdx*", {SBOM.digest}),
        ("--referrers=copied", {SIGNATURE.digest, SBOM.digest}),
    ],
)
def test_choice(command: Command, scripted: Scripted, flag: str, kept: set[str]) -> None:
    """--referrers says which artifacts come along."""
    source, mirror = scripted(referrers="yes"), scripted(referrers="yes")
    source.add("team/app", SIGNED, "v1")
    fill(source, "team/app", SIGNATURE, SBOM)

    assert copy(command, source, mirror, flag).code == 0

    assert set(mirror.manifests(COPY)) == {SIGNED.digest} | kept


def test_later_arrivals(command: Command, scripted: Scripted) -> None:
    """An artifact that is pushed after its image was copied arrives with `always`, and only then."""
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


@pytest.mark.parametrize(("flags", "code"), [((), 0), (("--referrers=copied",), 1)])
def test_refused(command: Command, scripted: Scripted, flags: tuple[str, ...], code: int) -> None:
    """A destination that takes no artifact: a warning, but a failed image where somebody asked for it."""
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


def test_missing_companions_are_named_by_verify(command: Command, scripted: Scripted) -> None:
    """Verify lists missing companions, and fails for them under `always`."""
    source, mirror = scripted(referrers="yes"), scripted(referrers="yes")
    source.add("team/app", SIGNED, "v1")
    assert copy(command, source, mirror).code == 0
    fill(source, "team/app", SIGNATURE)

    copied, always = command.run("verify"), command.run("verify", "--referrers=always")

    assert [copied.code, always.code] == [0, 1], always.text
    assert len(copied.events("image.companions_missing")) == 1


def test_price_without_companions(command: Command, scripted: Scripted) -> None:
    """A source without the API is asked for it once, however many images are copied."""
    source, mirror = scripted(), scripted()
    for number in range(5):
        source.add("team/app", image(layer(str(number))), f"v{number}")
    command.rules({f"{source.address}/team/app": f"{mirror.address}/{COPY}"})
    command.insecure(source.address, mirror.address)

    assert command.run().code == 0

    assert (1, 1) == tuple(kinds(source.requests())[each] for each in ("GET referrers", "GET tags"))
