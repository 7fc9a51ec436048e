"""A signed image with its artifacts, and the copy that tests of companions make."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pipeline.model.companions import fallback_tag
from tests.registry.content import artifact, image, index, layer
from tests.registry.referrers import subject_of

if TYPE_CHECKING:
    from tests.e2e.command import Command, Result
    from tests.registry.content import Content
    from tests.registry.registry import Registry

SIGNED = image(layer("base"))
SIGNATURE = artifact(b"signature", subject=SIGNED)
SBOM = artifact(b"sbom", kind="application/spdx+json", subject=SIGNED)
OF_SBOM = artifact(b"signature of the sbom", subject=SBOM)
LOCAL = artifact(b"made at the destination", subject=SIGNED)
COPY = "copy"


def listed(registry: Registry, subject: Content, repository: str = COPY) -> set[str]:
    """The entries of a manifest's fallback tag."""
    content = registry.manifest(repository, fallback_tag(subject.digest)) or b'{"manifests": []}'
    return {entry["digest"] for entry in json.loads(content)["manifests"]}


def fill(registry: Registry, repository: str, *artifacts: Content) -> None:
    """Store artifacts, and without a referrers API list them under fallback tags."""
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
