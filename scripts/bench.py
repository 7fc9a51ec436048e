"""Measure copying a corpus between two real registries, cold and warm, beside `skopeo sync --all`.

Requests are counted in the registries' access logs, so nothing that a client says of itself is believed;
every tag is checked afterwards over plain HTTP. Both clients start with empty destinations of their own.

    python -m scripts.bench --repos 20 --tags 10 --layer-kb 240
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.corpus import Corpus, Filler, add_sizes
from scripts.measure import Cost, measure
from tests.real.servers import DockerRegistry
from tests.real.tools import advice, missing
from tests.real.wire import OCI_INDEX, Endpoint, Wire, sha256
from tests.real.witness import blobs_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.real.servers import Request

_KINDS = (
    ("ping", re.compile(r"\w+ /v2/")),
    ("list tags", re.compile(r"GET /v2/.+/tags/list(\?.*)?")),
    ("HEAD manifest", re.compile(r"HEAD /v2/.+/manifests/[^/]+")),
    ("GET manifest", re.compile(r"GET /v2/.+/manifests/[^/]+")),
    ("PUT manifest", re.compile(r"PUT /v2/.+/manifests/[^/]+")),
    ("HEAD blob", re.compile(r"HEAD /v2/.+/blobs/sha256[^/]+")),
    ("GET blob", re.compile(r"GET /v2/.+/blobs/sha256[^/]+")),
    ("mount blob", re.compile(r"POST /v2/.+/blobs/uploads/\?.*\bmount=.*")),
    ("begin upload", re.compile(r"POST /v2/.+/blobs/uploads/.*")),
    ("send a piece", re.compile(r"PATCH /v2/.+/blobs/uploads/.+")),
    ("end upload", re.compile(r"PUT /v2/.+/blobs/uploads/.+")),
)


def kind_of(request: Request) -> str:
    """What a request is for, in words; `other` where it is none that a copy needs."""
    line = f"{request.method} {request.path}"
    kind = next((name for name, pattern in _KINDS if pattern.fullmatch(line)), "other")
    return "mount refused" if kind == "mount blob" and request.status != 201 else kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of one client."""

    client: str
    state: str
    """`cold`: an empty destination; `warm`: once more, with nothing to do."""
    cost: Cost
    source: Counter[str]
    """Kind of request -> how many the source registry answered."""
    destination: Counter[str]

    @property
    def requests(self) -> int:
        """Requests at both registries."""
        return self.source.total() + self.destination.total()


def least(corpus: Corpus, state: str) -> dict[str, int]:
    """The fewest requests with which the protocol lets this corpus be copied, or be found unchanged.

    Cold: each repository's tags are listed on both sides (a 404 at the destination says that nothing is
    there), each manifest is read and written once, each blob is read once and sent with one POST and one PUT,
    and mounted in each further repository that wants it. Warm: one HEAD per tag on both sides, and the lists
    of the source.
    """
    if state == "warm":
        return {"list tags": corpus.repos, "HEAD manifest": 2 * corpus.images}
    return {
        "list tags": 2 * corpus.repos,
        "GET manifest": corpus.manifests,
        "PUT manifest": corpus.manifests,
        "GET blob": corpus.blobs,
        "begin upload": corpus.blobs,
        "end upload": corpus.blobs,
        "mount blob": corpus.shared,
    }


class Bench:
    """The registries, the corpus, and the runs over them."""

    def __init__(self, corpus: Corpus, source: DockerRegistry, folder: Path) -> None:
        """`source` is filled; `folder` takes files and logs."""
        self.corpus = corpus
        self.source = source
        self.folder = folder
        self.filler = Filler(corpus=corpus, endpoint=source.endpoint)
        self.filler.fill()

    def ours(self, destination: DockerRegistry) -> list[str]:
        """The command line of image-syncer that copies the corpus."""
        rules = {
            f"{self.source.address}/{repository}": f"{destination.address}/{repository}"
            for repository in map(self.corpus.repository, range(self.corpus.repos))
        }
        insecure = {registry.address: {"insecure": True} for registry in (self.source, destination)}
        files = {"--images": rules, "--auth": insecure}
        flags = []
        for flag, content in files.items():
            path = self.folder / f"{flag.strip('-')}.json"
            path.write_text(json.dumps(content))
            flags += [flag, str(path)]
        return [sys.executable, "-m", "pipeline", *flags, "--records", str(self.folder / "records")]

    def skopeo(self, destination: DockerRegistry) -> list[str]:
        """The command line of skopeo that copies the corpus."""
        repositories: dict[str, list[str]] = {
            self.corpus.repository(number): [] for number in range(self.corpus.repos)
        }
        source = self.folder / "skopeo.yaml"  # JSON is YAML
        source.write_text(json.dumps({self.source.address: {"tls-verify": False, "images": repositories}}))
        sync = ["skopeo", "--insecure-policy", "sync", "--all", "--src", "yaml", "--dest", "docker"]
        return [*sync, "--dest-tls-verify=false", str(source), f"{destination.address}/bench"]

    def run(self, client: str, command: list[str], destination: DockerRegistry) -> list[Run]:
        """Run a client cold, then warm, and check every tag after each run."""
        return [self._run(client, state, command, destination) for state in ("cold", "warm")]

    def _run(self, client: str, state: str, command: list[str], destination: DockerRegistry) -> Run:
        before = [len(registry.requests()) for registry in (self.source, destination)]
        output = self.folder / f"{client}-{state}.log"
        cost = measure(command, output=output)
        if cost.status != 0:
            words = output.read_text(errors="replace")[-3000:]
            raise SystemExit(f"{words}\n{client} ({state}) ended with exit status {cost.status}")
        counts = [
            Counter(map(kind_of, registry.requests()[start:]))
            for registry, start in zip((self.source, destination), before, strict=True)
        ]
        self._check(destination.endpoint)
        return Run(client=client, state=state, cost=cost, source=counts[0], destination=counts[1])

    def _check(self, destination: Endpoint) -> None:
        """Every tag has the digest of its source, and all below it is there; else the figures are void."""
        with Wire(destination) as wire:
            wrong = [
                fault
                for image, digest in sorted(self.filler.digests.items())
                for fault in _faults(wire, image, digest)
            ]
        if wrong:
            raise SystemExit("\n".join([*wrong[:20], f"{len(wrong)} faults at the destination: no figures"]))


def _faults(wire: Wire, image: str, expected: str) -> Iterable[str]:
    repository, _, tag = image.partition(":")
    index = wire.manifest(repository, tag)
    if (index.status, sha256(index.body)) != (200, expected):
        yield f"{image}: {index.status}, {sha256(index.body)} where {expected} was expected"
        return
    assert index.headers["Content-Type"] == OCI_INDEX
    for entry in json.loads(index.body)["manifests"]:
        manifest = wire.manifest(repository, entry["digest"])
        if (manifest.status, sha256(manifest.body)) != (200, entry["digest"]):
            yield f"{image}: manifest {entry['digest']}: {manifest.status}"
            continue
        for blob in blobs_of(json.loads(manifest.body)):
            head = wire.ask("HEAD", f"/v2/{repository}/blobs/{blob['digest']}")
            if (head.status, head.headers["Content-Length"]) != (200, str(blob["size"])):
                yield f"{image}: blob {blob['digest']}: {head.status}"


def report(corpus: Corpus, runs: list[Run]) -> str:
    """The figures for a person."""
    size = corpus.layer_kb * (corpus.blobs - corpus.images * len(corpus.platforms)) / 1000
    lines = [
        (
            f"{corpus.repos} repositories x {corpus.tags} tags x {len(corpus.platforms)} platforms: "
            f"{corpus.images} images, {corpus.manifests} manifests, {corpus.blobs} blobs, {size:.0f} MB; "
            f"{os.cpu_count()} cores, Python {platform.python_version()}"
        ),
    ]
    for state in ("cold", "warm"):
        lines += ["", *_table(corpus, state, [run for run in runs if run.state == state])]
    lines += ["", "memory of each process of image-syncer, peak in MB:"]
    for run in runs:
        if run.client == "image-syncer":
            peaks = ", ".join(f"{role} {peak / 1e6:.0f}" for role, peak in run.cost.peaks)
            lines.append(f"  {run.state}: {peaks}")
    return "\n".join(lines)


def _table(corpus: Corpus, state: str, runs: list[Run]) -> list[str]:
    """One column per client and one for the least; the last column is ours in relation to skopeo."""
    minimum = least(corpus, state)
    rows: list[tuple[str, list[float], float | None]] = [
        ("wall seconds", [run.cost.wall for run in runs], None),
        ("CPU seconds", [run.cost.cpu for run in runs], None),
        ("peak MB, all processes", [sum(peak for _, peak in run.cost.peaks) / 1e6 for run in runs], None),
        ("requests", [run.requests for run in runs], sum(minimum.values())),
        (
            "requests per image",
            [run.requests / corpus.images for run in runs],
            sum(minimum.values()) / corpus.images,
        ),
    ]
    known = [name for name, _ in _KINDS] + ["mount refused", "other"]
    for side in ("source", "destination"):
        for kind in known:
            counts = [float(getattr(run, side)[kind]) for run in runs]
            if any(counts):
                rows.append((f"  {side}: {kind}", counts, None))
    head = f"{state:30}" + "".join(f"{run.client:>14}" for run in runs) + f"{'least':>10}{'ratio':>8}"
    return [head, *(_row(*row) for row in rows)]


def _row(name: str, values: list[float], minimum: float | None) -> str:
    cells = "".join(f"{_number(value):>14}" for value in values)
    floor = "" if minimum is None else _number(minimum)
    ratio = f"{values[0] / values[1]:.2f}" if len(values) == 2 and values[1] else ""
    return f"{name:30}{cells}{floor:>10}{ratio:>8}".rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def as_json(corpus: Corpus, runs: list[Run]) -> dict[str, Any]:
    """The figures for a program."""
    return {
        "corpus": asdict(corpus) | {name: getattr(corpus, name) for name in ("images", "manifests", "blobs")},
        "least": {state: least(corpus, state) for state in ("cold", "warm")},
        "runs": [
            {
                "client": run.client,
                "state": run.state,
                **asdict(run.cost),
                "source": dict(run.source),
                "destination": dict(run.destination),
                "requests": run.requests,
                "requests_per_image": run.requests / corpus.images,
            }
            for run in runs
        ],
    }


def main() -> None:
    """Run the benchmark that the command line asks for."""
    parser = argparse.ArgumentParser(description="Measure image-syncer beside skopeo on real registries.")
    add_sizes(parser)
    parser.add_argument("--no-skopeo", action="store_true", help="image-syncer alone")
    parser.add_argument(
        "--json", type=Path, default=Path("bench-results.json"), help="where figures are written"
    )
    flags = parser.parse_args()
    if absent := missing():
        raise SystemExit(advice(absent))
    corpus = Corpus(repos=flags.repos, tags=flags.tags, layer_kb=flags.layer_kb)
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as folder, DockerRegistry(memory=True) as source:
        bench = Bench(corpus, source, Path(folder))
        with DockerRegistry(memory=True) as destination:
            runs += bench.run("image-syncer", bench.ours(destination), destination)
        if not flags.no_skopeo:
            with DockerRegistry(memory=True) as destination:
                runs += bench.run("skopeo", bench.skopeo(destination), destination)
    print(report(corpus, runs))
    flags.json.write_text(json.dumps(as_json(corpus, runs), indent=2) + "\n")
    print(f"\nwritten to {flags.json}")


if __name__ == "__main__":
    main()
