"""Copy real images between two registries on this machine, with the files of example/.

Only the registries' addresses in those files are replaced. Without Debian's registry and tools, the
registry of our own tests and small made-up images are used instead, and the demo says so.

    python -m scripts.demo
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.real.images import Layout
from tests.real.servers import DockerRegistry
from tests.real.tools import advice, missing
from tests.real.wire import DOCKER_LIST, OCI_INDEX, Endpoint, Wire, sha256
from tests.real.witness import flaws, manifest_of, tags_of
from tests.registry.content import image, index, layer
from tests.registry.process import start_process
from tests.registry.push import push

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
SOURCE, DESTINATION = "registry.example.com", "mirror.example.org"
READER = ("reader", "reader-password")
WRITERS = {"writer": "writer-password", "robot$team+ci": "robot-password"}

IMAGES = (
    ("library/alpine", "index", ("3.19", "3.20")),
    ("library/nginx", "image", ("1.27", "1.27-alpine")),
    ("library/redis", "docker", ("7.2", "7.4")),
    ("library/busybox", "zstd", ("1.36",)),
    ("team/tool", "image", ("v1", "v2")),
    ("team/app", "index", ("v1.0.0", "v1.1.0", "v2.0.0", "v2.0.0-rc.1")),
)
"""Repository, form and tags that example/images.yaml expects at the source."""

ARRIVALS = {
    "library/alpine": {"3.19": "library/alpine:3.19", "3.20": "library/alpine:3.20"},
    "library/busybox": {"1.36": "library/busybox:1.36"},
    "library/nginx": {"1.27": "library/nginx:1.27"},
    "library/pinned": {"frozen": "library/pinned:v1"},
    "library/redis": {"7.2": "library/redis:7.2", "7.4": "library/redis:7.4"},
    "team/app": {f"v{version}": f"team/app:v{version}" for version in ("1.0.0", "1.1.0", "2.0.0")},
    "team/busybox": {"stable": "library/busybox:1.36"},
    "team/pinned": {"first": "library/pinned:v1", "second": "library/pinned:v1"},
    "team/tool": {"old": "team/tool:v1", "new": "team/tool:v2"},
    "team/web": {"stable": "library/nginx:1.27-alpine"},
}
"""The expected result of example/images.yaml: repository -> tag -> the image that it must equal."""

_EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}"), "size": 2}
PINNED = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example.pinned",
        "config": _EMPTY,
        "layers": [_EMPTY],
    },
    separators=(",", ":"),
).encode()
"""library/pinned:v1, byte by byte: example/images.yaml has its digest."""

_IMAGE_LINE = re.compile(r'msg="((?:[^"\\]|\\.)*)" event=image\.')
_SHOWN = 3
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The two registries, with the source filled."""

    name: str
    source: Endpoint
    destination: Endpoint
    witness: str
    """Reports what is there; the next two use it."""
    tags: Callable[[Endpoint, str], list[str]]
    manifest: Callable[[Endpoint, str], bytes]


def send_pinned(wire: Wire) -> None:
    """Push `PINNED`."""
    wire.send_blob("library/pinned", b"{}")
    wire.send_manifest("library/pinned", "v1", PINNED)


@contextmanager
def real_stage(folder: Path) -> Iterator[Stage]:
    """Two servers of Debian's docker-registry with users, and images that umoci and skopeo made."""
    with DockerRegistry(users=dict([READER])) as source, DockerRegistry(users=WRITERS) as destination:
        for repository, form, tags in IMAGES:
            layout = Layout(folder / repository.replace("/", "-"))
            for tag in tags:
                _make(layout, form, f"{repository}:{tag}", source.endpoint)
        with Wire(source.endpoint) as wire:
            send_pinned(wire)
        yield Stage(
            name="docker-registry of Debian, with users",
            source=source.endpoint,
            destination=destination.endpoint,
            witness="skopeo",
            tags=tags_of,
            manifest=manifest_of,
        )


def _make(layout: Layout, form: str, name: str, registry: Endpoint) -> None:
    tag = name.rpartition(":")[2]
    amd64 = layout.make_image(tag, layers=3, word=name)
    if form == "image":
        layout.push(tag, registry, name)
        return
    entries = [amd64, layout.for_platform(amd64, "linux/arm64/v8")]
    if form == "index":
        layout.send(layout.make_index([*entries, layout.make_attestation(amd64)]), registry, name)
        return
    layout.tag(tag, layout.make_index(entries))
    if form == "docker":
        layout.push(tag, registry, name, form="v2s2")
    else:
        layout.recompress(tag, form="zstd").push(tag, registry, name)


@contextmanager
def own_stage(_: Path) -> Iterator[Stage]:
    """Two registries of our own tests, with made-up images of the same names."""
    user, password = READER
    with (
        start_process(auth="basic", username=user, password=password) as source,
        start_process() as destination,
    ):
        endpoint = Endpoint(address=source.address, user=user, password=password)
        with Wire(endpoint) as wire:
            send_pinned(wire)
            for repository, form, tags in IMAGES:
                for tag in tags:
                    layers = (layer("base", size=200_000), layer(f"{repository}:{tag}", size=20_000))
                    images = [image(*layers, architecture=name) for name in ("amd64", "arm64")]
                    push(wire, repository, images[0] if form == "image" else index(*images), tag)
        yield Stage(
            name="the registry of our tests",
            source=endpoint,
            destination=Endpoint(address=destination.address),
            witness="plain HTTP",
            tags=_tags_by_wire,
            manifest=_manifest_by_wire,
        )


def _tags_by_wire(registry: Endpoint, repository: str) -> list[str]:
    with Wire(registry) as wire:
        tags: list[str] = json.loads(wire.need(200, "GET", f"/v2/{repository}/tags/list").body)["tags"]
        return sorted(tags)


def _manifest_by_wire(registry: Endpoint, name: str) -> bytes:
    repository, _, tag = name.rpartition(":")
    with Wire(registry) as wire:
        return wire.manifest(repository, tag).body


def describe(manifest: bytes) -> str:
    """A manifest in a few words."""
    content = json.loads(manifest)
    if content["mediaType"] in {OCI_INDEX, DOCKER_LIST}:
        kind = "docker list" if content["mediaType"] == DOCKER_LIST else "index"
        return f"{kind} of {', '.join(_platform(entry['platform']) for entry in content['manifests'])}"
    if "artifactType" in content:
        return f"artifact {content['artifactType']}"
    return f"image of {len(content['layers'])} layers"


def _platform(platform: dict[str, str]) -> str:
    parts = [platform[name] for name in ("os", "architecture", "variant") if name in platform]
    return "an attestation" if parts[0] == "unknown" else "/".join(parts)


def place_example(stage: Stage, folder: Path) -> None:
    """Copy both files of example/ into `folder`, with the addresses of the stage in them."""
    for name in ("auth.yaml", "images.yaml"):
        text = (ROOT / "example" / name).read_text()
        text = text.replace(SOURCE, stage.source.address).replace(DESTINATION, stage.destination.address)
        (folder / name).write_text(text)


def run_job(stage: Stage, folder: Path, *, log: str) -> None:
    """Run image-syncer in `folder`, as a user does, and print a few lines of its log.

    Raises:
        SystemExit: it failed.
    """
    flags = ["--auth", "auth.yaml", "--images", "images.yaml", "--log", log]
    print(f"$ image-syncer {' '.join(flags)}", flush=True)
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *flags],
        cwd=folder,
        check=False,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": path},
    )
    text = (folder / log).read_text() if (folder / log).exists() else ""
    if done.returncode != 0:
        raise SystemExit(f"{text}\nimage-syncer ended with exit status {done.returncode}")
    names = text.replace(stage.source.address, SOURCE).replace(stage.destination.address, DESTINATION)
    lines = [_DIGEST.sub(_shorten, message) for message in _IMAGE_LINE.findall(names)]
    print(f"{log} says of each image, for instance:")
    for line in lines[:_SHOWN]:
        print(f"  {line}")
    print()


def _shorten(digest: re.Match[str]) -> str:
    return digest[0][:19]


def show(stage: Stage) -> None:
    """Print the content of the destination, and check it.

    Raises:
        SystemExit: something is missing, wrong, or unexpected.
    """
    wrong = []
    for repository, copies in ARRIVALS.items():
        tags = stage.tags(stage.destination, repository)
        if tags != sorted(copies):
            wrong.append(f"{repository}: tags {tags} where {sorted(copies)} were expected")
        for tag in tags:
            name = f"{repository}:{tag}"
            manifest = stage.manifest(stage.destination, name)
            print(f"  {name:24} {sha256(manifest)[:19]}  {describe(manifest)}")
            if tag in copies and manifest != stage.manifest(stage.source, copies[tag]):
                wrong.append(f"{name}: not the bytes of {copies[tag]}")
            wrong += [f"{name}: {flaw}" for flaw in flaws(stage.destination, name)]
    if wrong:
        raise SystemExit("\n".join(["", *wrong]))


def main() -> None:
    """Start the registries, copy twice, show the result, clean up."""
    absent = missing()
    if absent:
        print(f"{advice(absent)}\n")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="image-syncer-demo-")))
        print("Starting two registries and filling one ...", flush=True)
        stage = stack.enter_context((own_stage if absent else real_stage)(folder))
        print(f"Two registries on this machine: {stage.name}.")
        print(f"  {SOURCE:22} is {stage.source.address}, filled with what example/images.yaml names")
        print(f"  {DESTINATION:22} is {stage.destination.address}, empty\n")
        place_example(stage, folder)
        run_job(stage, folder, log="first.log")
        print("Once more: nothing is left to do.")
        run_job(stage, folder, log="second.log")
        print(f"What {DESTINATION} holds now, as {stage.witness} sees it:")
        show(stage)
        print("\nEvery manifest is byte for byte that of its source; every blob was downloaded and is right.")


if __name__ == "__main__":
    main()
