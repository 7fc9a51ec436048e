"""Artifacts attached by oras and signatures by cosign, read back at the destination by these tools."""

from __future__ import annotations

import json
from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.real.golang import build
from tests.real.tools import ToolError, run
from tests.real.witness import tags_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.command import Command
    from tests.real.fixtures import StartOther, StartRegistry
    from tests.real.images import Layout
    from tests.real.wire import Endpoint

SIGNATURE, SBOM = "application/vnd.example.signature", "application/spdx+json"
OF_SBOM = "application/vnd.example.signature.sbom"


def oras(*words: str) -> str:
    """Run oras with plain HTTP."""
    return run(str(build("oras")), *words, "--plain-http")


def attach(subject: str, kind: str, folder: Path) -> str:
    """Attach a file to a reference; returns the digest of the artifact."""
    file = folder / f"{kind.rpartition('/')[2]}.json"
    file.write_text(json.dumps({"of": subject}))
    words = ("--artifact-type", kind, "--disable-path-validation", "--format", "json")
    return str(json.loads(oras("attach", *words, subject, f"{file}:text/json"))["digest"])


def kinds_of(reference: str) -> dict[str, str]:
    """The artifacts that oras finds at a reference, with their types."""
    found = json.loads(oras("discover", "--format", "json", "--depth", "1", reference))
    return {
        each["digest"]: each["artifactType"]
        for each in found.get("referrers") or found.get("manifests") or ()
    }


def cosign(folder: Path, verb: str, *words: str) -> str:
    """Run cosign with a key without password and plain HTTP, without sigstore's servers."""
    settings = (f"HOME={folder}", "COSIGN_PASSWORD=", "COSIGN_EXPERIMENTAL=1")
    return run("env", "-C", str(folder), *settings, str(build("cosign")), verb, *words)


def verify(folder: Path, reference: str, mode: str) -> None:
    """Let cosign verify a reference with the public key in that folder.

    Raises:
        ToolError: it is not signed with that key.
    """
    words = ("--experimental-oci11",) * (mode == "oci-1-1")
    flags = ("--key=cosign.pub", "--insecure-ignore-tlog", "--allow-http-registry", *words)
    cosign(folder, "verify", *flags, reference)


@pytest.fixture
def start(docker_registry: StartRegistry, other_registry: StartOther) -> Callable[[str], Endpoint]:
    """A maker of registries: docker-registry knows only fallback tags, cue's lists referrers itself."""
    return lambda kind: docker_registry().endpoint if kind == "docker-registry" else other_registry(kind)


@pytest.mark.built
@pytest.mark.parametrize("kinds", list(product(("docker-registry", "ocimem"), repeat=2)), ids="-".join)
def test_oras_finds_attached_artifacts(
    kinds: tuple[str, str],
    command: Command,
    layout: Layout,
    start: Callable[[str], Endpoint],
    tmp_path: Path,
) -> None:
    """Oras finds artifacts of an image and of an artifact at the destination, later ones too."""
    here, mirror = map(start, kinds)
    layout.send(layout.tagged("multi"), here, "team/app:v1")
    image, copied = f"{here.address}/team/app", f"{mirror.address}/copy/app"
    sbom = attach(f"{image}:v1", SBOM, tmp_path)
    signature = attach(f"{image}:v1", SIGNATURE, tmp_path)
    of_sbom = attach(f"{image}@{sbom}", OF_SBOM, tmp_path)
    command.rules({f"{image}:v1": copied})
    command.insecure(here.address, mirror.address)

    first = command.run()
    later = attach(f"{image}:v1", OF_SBOM, tmp_path)
    second = command.run("--referrers=always")

    assert [first.code, second.code] == [0, 0], second.text
    assert (first.finish["companions"], second.finish["companions"]) == (3, 1)
    assert kinds_of(f"{copied}:v1") == {sbom: SBOM, signature: SIGNATURE, later: OF_SBOM}
    assert kinds_of(f"{copied}@{sbom}") == {of_sbom: OF_SBOM}
    fallbacks = {tag for tag in tags_of(mirror, "copy/app") if tag.startswith("sha256-")}
    assert len(fallbacks) == (2 if kinds[1] == "docker-registry" else 0)
    assert command.run("verify", "--referrers=always").code == 0


@pytest.mark.built
@pytest.mark.parametrize(
    "case",
    list(product(("docker-registry", "ocimem"), ("docker-registry", "ocimem"), ("legacy", "oci-1-1"))),
    ids="-".join,
)
def test_cosign_verifies_at_the_destination(
    case: tuple[str, str, str],
    command: Command,
    layout: Layout,
    start: Callable[[str], Endpoint],
    tmp_path: Path,
) -> None:
    """Cosign verifies at the destination what it has signed at the source, and nothing else."""
    here, mirror, mode = start(case[0]), start(case[1]), case[2]
    image, copied = f"{here.address}/team/app", f"{mirror.address}/copy/app"
    for tag in ("signed", "not"):
        layout.send(layout.tagged("multi" if tag == "signed" else "single"), here, f"team/app:{tag}")
    cosign(tmp_path, "generate-key-pair")
    flags = ("--yes", "--key=cosign.key", "--tlog-upload=false", "--allow-http-registry")
    cosign(tmp_path, "sign", *flags, f"--registry-referrers-mode={mode}", f"{image}:signed")
    command.rules({f"{image}:signed,not": copied})
    command.insecure(here.address, mirror.address)

    result = command.run()

    assert (result.code, result.finish["companions"]) == (0, 1), result.text
    verify(tmp_path, f"{copied}:signed", mode)
    with pytest.raises(ToolError, match=r"no (matching )?signatures"):
        verify(tmp_path, f"{copied}:not", mode)
