"""Draws a round from its seed: registries with their quirks, a corpus, rules, flags, faults, kills."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from tests.chaos.attached import ALWAYS, attach
from tests.chaos.draw_faults import BLOWS, draw_trouble
from tests.chaos.draw_rules import add_list, add_rule, draw_defaults
from tests.chaos.rules import read_list, read_rules
from tests.registry import content

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.draw_faults import Trouble
    from tests.chaos.expect import Form
    from tests.chaos.rules import Rule
    from tests.chaos.watch import Watched
    from tests.registry.content import Content

_PLATFORMS: tuple[dict[str, Any], ...] = (
    {"architecture": "amd64"},
    {"architecture": "arm64"},
    {"architecture": "arm64", "platform": {"variant": "v8"}},
    {"architecture": "arm", "platform": {"variant": "v7"}},
    {"architecture": "arm", "platform": {"variant": "v6"}},
    {"os": "windows", "platform": {"os.version": "10.0.17763.1397"}},
    {"os": "windows", "platform": {"os.version": "10.0.20348.1"}},
)
_OS = ("linux", "windows", "windows:10.0.17763", "linux,windows:10.0.20348.1")
_ARCH = ("amd64", "arm64", "arm64:v8", "arm:v7", "amd64,arm:v6", "arm,arm64")
_KINDS = (
    *("image", "image", "index", "index", "list", "nested", "attested", "attested", "bare"),
    *("artifact", "schema1", "foreign", "cache"),
)
_TAGS = (
    *("v1", "v2", "v1.0", "latest", "edge", "v3-rc.1", "7", "v10"),
    *("1.25.1-alpine", "1.25.3-alpine", "1.26.0-alpine", "1.27.0-beta", "2.3.4"),
)
_FLAGS: tuple[tuple[float, tuple[tuple[str, ...], ...]], ...] = (
    (0.5, (("--proc=1",), ("--proc=2",), ("--proc=8",))),
    (0.7, (("--retries=0",), ("--retries=1",), ("--retries=3",))),
    (0.15, (("--force",),)),
    (0.45, (("--log=run.log",), ("--log=run.log",), ("--log=run.log",), ("--log=/dev/full",))),
    (0.5, (("--log-level=debug",),)),
    (0.3, (("--log-format=json",), ("--log-format=text",))),
    (0.5, (("--drain=1s",), ("--drain=5s",))),
    (0.2, (("--report=report.html",),)),
    (0.35, ((ALWAYS,),)),
)
_OF_ANY: dict[str, tuple[Any, ...]] = {
    "digest_header": (False,),
    "head": (False,),
    "content_type": ("none", "application/json", "text/html", "text/plain", "application/octet-stream"),
    "redirect": ("get", "all"),
    "gzip": (True,),
    "referrers": ("yes", "filters"),
    "location": ("absolute", "other-host", "missing"),
}
_OF_SOURCE: dict[str, tuple[Any, ...]] = {
    "page": (1, 2, 3),
    "honour_n": (False,),
    "link": ("absolute", "bare", "lost-prefix", "other-host"),
    "tags": ("unsorted", "doubled", "null"),
    "strict_accept": (False,),
    "ranges": ("ignored", "wrong-start", "lying"),
}
_OF_DESTINATION: dict[str, tuple[Any, ...]] = {
    "mount": ("refused", "lie", "unauthorized", "denied", "unsupported", "broken"),
    "check_references": (False,),
    "session_state": (False,),
    "session_dies": (False,),
    "broken_bodies": (False,),
    "check_content_range": (True,),
    "patch_range": ("stuck", "none", "one-too-many"),
    "patch_takes": (7_000,),
    "chunk_min": (4_000,),
    "chunk_max": (70_000,),
    "monolithic_post": (True,),
    "immutable": ("ecr", "harbor", "quay", "acr"),
}
_OF_TOKENS: dict[str, tuple[Any, ...]] = {
    "token_elsewhere": (True,),
    "token_field": ("token", "access_token"),
    "token_post": (False,),
    "token_expires_in": (None, 60, 10**9),
    "token_uses": (30, 80),
    "harbor": (True,),
}


@dataclass(slots=True)
class Round:
    """Everything drawn from a seed; `fill` makes corpus and rules once the registries have addresses."""

    seed: int
    random: Random
    options: list[dict[str, Any]]
    """For each registry; the first `sources` of them are sources."""
    sources: int
    kinds: Sequence[str] = BLOWS
    """Of blows."""
    os: str = ""
    arch: str = ""
    flags: list[str] = field(default_factory=list)
    runs: list[Trouble] = field(default_factory=list)
    """For each disturbed run."""
    descriptors: int = 0
    """The limit of open files; 0: no limit."""
    books: list[dict[str, Any]] = field(default_factory=list)
    """The content of each rules file."""
    is_folder: bool = False
    """Whether they are in a folder that the flags name."""
    listed: list[str] = field(default_factory=list)
    """The lines of a plain list."""
    to: str = ""
    """Its destination."""
    late: list[tuple[Watched, str, Content, str]] = field(default_factory=list)
    """Added to a source after its tags have been seen: registry, repository, content, tag."""
    marks: list[str] = field(default_factory=list)
    """What else is special about the round, one word each."""

    @property
    def files(self) -> dict[str, str]:
        """The rules files by name, in order."""
        names = ["rules/a.json", "rules/b.json"] if self.is_folder else ["images.json", "more.json"]
        books = [json.dumps(book, indent=1) for book in self.books if any(key[0] != "." for key in book)]
        lists = {"list.txt": "\n".join(["# images", *self.listed])} if self.listed else {}
        return dict(zip(names, books, strict=False)) | lists

    @property
    def images(self) -> list[str]:
        """The flags that name the rules files."""
        names = list(dict.fromkeys("rules" if each.startswith("rules/") else each for each in self.files))
        flags = [f"--images={name}" for name in names] if names != ["images.json"] else []
        return flags + [f"--to={self.to}"] * bool(self.listed)

    def rules(self, base: Form) -> list[Rule]:
        """All rules, parsed by the checker."""
        found = [rule for book in self.books for rule in read_rules(book, base)]
        return found + read_list(self.listed, self.to, base)

    @property
    def immutable(self) -> bool:
        """Whether a destination refuses to move tags."""
        return any(options.get("immutable", "no") != "no" for options in self.options)

    def brief(self) -> str:
        """A summary of the round."""
        special = [
            f"{'S' if number < self.sources else 'D'}:{key}={value}"
            for number, options in enumerate(self.options)
            for key, value in options.items()
            if key not in ("password", "username", "schema1")
        ]
        platforms = [f"os={self.os}"] * bool(self.os) + [f"arch={self.arch}"] * bool(self.arch)
        few = [f"nofile={self.descriptors}"] * bool(self.descriptors)
        return " ".join(
            [f"{sum(map(len, self.books))} rules", *self.flags, *few, *platforms, *special, *self.marks]
        )


def draw(seed: int, kinds: Sequence[str] = BLOWS) -> Round:
    """The round of a seed, with blows of these kinds."""
    random = Random(seed)
    sources = 2 if random.random() < 0.2 else 1
    destinations = 2 if random.random() < 0.3 else 1
    options = [_options(random, seed, is_source=number < sources) for number in range(sources + destinations)]
    drawn = Round(seed, random, options, sources, kinds)
    if random.random() < 0.35:
        drawn.os = random.choice(("", *_OS))
        drawn.arch = random.choice(("", *_ARCH))
    drawn.descriptors = 64 if random.random() < 0.06 else 0
    for share, choices in _FLAGS:
        if random.random() < share:
            drawn.flags += random.choice(choices)
    if ALWAYS in drawn.flags:
        for each in options:
            each["referrers"] = random.choice(("no", "no", "yes", "filters"))
    for _ in range(random.choice((1, 1, 1, 2))):
        drawn.runs.append(draw_trouble(random, sources=sources, registries=len(options), kinds=kinds))
    return drawn


def _options(random: Random, seed: int, *, is_source: bool) -> dict[str, Any]:
    auth = random.choice(("none", "none", "basic", "token", "token"))
    drawn: dict[str, Any] = {"auth": auth, "password": f"chaos-{seed}-{random.getrandbits(48):x}"}
    drawn["schema1"] = random.random() < 0.9
    tables = [(_OF_ANY, 0.08), (_OF_SOURCE, 0.15) if is_source else (_OF_DESTINATION, 0.12)]
    tables += [(_OF_TOKENS, 0.2)] if auth == "token" else []
    for table, share in tables:
        for name, choices in table.items():
            if random.random() < share:
                drawn[name] = random.choice(choices)
    apart = Random(f"{seed} {is_source} catalogue")
    if apart.random() < 0.5:
        drawn["catalogue"], drawn["catalogue_lies"] = "harbor", apart.choice((0, seed))
    if "chunk_max" in drawn:
        # No registry takes less of a chunk than the maximum that it announces.
        drawn.pop("patch_takes", None)
    if drawn.get("location") == "missing":
        # If each response invalidates the previous Location, each response has to give the next one.
        drawn["session_state"] = False
    return drawn


def fill(drawn: Round, registries: list[Watched]) -> None:
    """Make the corpus and the rules."""
    random = drawn.random
    shared = [
        content.layer(f"{drawn.seed} {n}", size=random.choice((64, 3_000, 50_000, 150_000))) for n in range(4)
    ]
    sources, destinations = registries[: drawn.sources], registries[drawn.sources :]
    drawn.books = [draw_defaults(random) for _ in range(1 + (random.random() < 0.3))]
    drawn.is_folder = random.random() < 0.2
    for number, source in enumerate(sources):
        for place in range(random.randint(1, 4)):
            name = f"team/app{number}{place}"
            pool = [_draw_content(random, f"{drawn.seed} {name} {n}", shared) for n in range(3)]
            for tag in random.sample(_TAGS, random.choice((1, 2, 3, 4, 5, 8))):
                source.add(name, random.choice(pool), tag)
            if ALWAYS in drawn.flags and not drawn.immutable:
                attach(random, source, name, f"{drawn.seed} {name} attached")
            if random.random() < 0.25:
                add_list(drawn, source, name, "upstream")
            add_rule(drawn, source, name, [*destinations, *([source] if random.random() < 0.2 else [])])
    own = destinations[0]
    if random.random() < 0.3:
        own.add("base/own", _draw_content(random, f"{drawn.seed} own", shared), "v1", "v2")
        add_rule(drawn, own, "base/own", destinations)
    if "ripe" in drawn.marks and len(drawn.runs) == 1:
        # An image is first seen in one run and copied in another, so both runs are disturbed.
        drawn.runs.append(
            draw_trouble(random, sources=len(sources), registries=len(registries), kinds=drawn.kinds)
        )
    if drawn.late:
        drawn.runs = [each.remembering() for each in drawn.runs]
    last = drawn.books[-1]
    if random.random() < 0.06:
        last[f"{sources[0].address}/team/UPPER:v1"] = [f"{own.address}/copy/upper"]
        drawn.marks.append("bad-rule")
    if random.random() < 0.06:
        last[f"{sources[0].address}/team/absent"] = [f"{own.address}/copy/absent"]
        drawn.marks.append("absent-repository")


def _draw_content(random: Random, word: str, shared: list[bytes]) -> Content:
    images = [_draw_image(random, f"{word} {number}", shared) for number in range(3)]
    kind = random.choice(_KINDS)
    if kind == "attested":
        return content.index(
            images[0], content.attestation(images[0]), images[1], content.attestation(images[1])
        )
    bare = dataclasses.replace(images[2], platform=None)
    present, absent = random.choice(shared), content.layer(f"{word} foreign")
    made = {
        "index": lambda: content.index(*images[: random.randint(1, 3)]),
        "list": lambda: content.index(*images[:2], docker=True),
        "nested": lambda: content.index(images[0], content.index(*images[1:])),
        "bare": lambda: content.index(images[0], bare),
        "artifact": lambda: content.artifact(content.layer(word, size=200)),
        "schema1": lambda: content.schema1(present, content.layer(word), signed=random.random() < 0.5),
        "foreign": lambda: content.foreign_image(present, absent),
        "cache": lambda: content.cache(present, content.layer(f"{word} cached", size=2_000)),
    }
    return made[kind]() if kind in made else images[0]


def _draw_image(random: Random, word: str, shared: list[bytes]) -> Content:
    own = content.layer(word, size=random.choice((64, 2_000, 40_000)))
    layers = [*random.sample(shared, random.randint(0, 3)), own]
    return content.image(*layers, docker=random.random() < 0.3, **random.choice(_PLATFORMS))


def damage(drawn: Round, registries: list[Watched]) -> set[str]:
    """Sometimes remove a layer that only this source has; returns its digest."""
    random, source = drawn.random, registries[0]
    if random.random() > 0.1:
        return set()
    name = random.choice([name for name in source.repositories() if name.startswith("team/")])
    everywhere = [(registry, other) for registry in registries for other in registry.repositories()]
    others = {digest for registry, other in everywhere if (registry, other) != (source, name)
              for digest in registry.blobs(other)}  # fmt: skip
    here = source.store.create(name).blobs
    own = sorted(digest for digest in here.keys() - others if not here[digest].read().startswith(b"{"))
    if not own:
        return set()
    drawn.marks.append(f"lost-blob:{name}")
    source.forget_blob(name, own[0])
    return {own[0]}
