"""Draws rules: plain forms, families of options with predictable results, defaults, lists.

A family about moving tags has its own repositories, so that no other rule moves them.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from tests.chaos.choosing import RANGES
from tests.registry import content
from tests.registry.store import referred

if TYPE_CHECKING:
    from random import Random

    from tests.chaos.draw import Round
    from tests.chaos.watch import Watched

_PLAIN = ("all", "all", "all", "list", "regex", "digest", "mixed", "retag", "retag")
_FAMILIES = (
    *("tags", "tags", "tags", "tags", "platforms", "two", "two", "two", "single", "sparse"),
    *("keep", "keep", "held", "ripe", "ripe", "seen", "optional", "template", "list"),
)
_PLATFORMS = (
    "linux/amd64",
    "linux/arm64",
    "linux/arm64/v8",
    "linux/arm/v7",
    "linux/arm",
    "windows:10.0.17763/amd64",
)
_INCLUDES = (["v*"], ["*.*.*-alpine", "7"], ["/^v[0-9]+$/", "latest"], "v*", ["[a-z]*"], ["/alpine/"])
_EXCLUDES = (["*-rc*", "7"], ["/^v/"], ["latest"], ["*alpine"])
_PER = ("series", "minor", "major", "repository")
_LATE = {"v": "v0", "7": "3", "alpine": "1.0.0-alpine"}
"""Tags that are added after greater ones of their series, by a word in these."""


def draw_defaults(random: Random) -> dict[str, Any]:
    """The initial content of a rules file: nothing, or `.defaults`."""
    if random.random() > 0.12:
        return {}
    made = (
        {"attestations": "drop"},
        {"platforms": ["linux/amd64", "linux/arm64"]},
        {"tags": {"exclude": ["*-rc*", "ed*"]}, "retries": 1},
    )
    return {".defaults": random.choice(made), ".anchors": {"nothing": ["to", "see"]}}


def add_rule(drawn: Round, source: Watched, name: str, destinations: list[Watched]) -> None:
    """Add a rule for a repository that has tags."""
    random, book = drawn.random, drawn.random.choice(drawn.books)
    to = random.choice(destinations)
    if random.random() < 0.6:
        _Family(drawn, source, name, destinations, book).draw(random.choice(_FAMILIES))
        return
    path = (
        random.choice((f"copy/{name[-3:]}", f"deep/er/{name[-3:]}")) if random.random() < 0.8 else "copy/all"
    )
    here = f"{to.address}/{path}"
    more = [f"{random.choice(destinations).address}/also/{name[-3:]}"] * (random.random() < 0.25)
    _add_plain(drawn, source, name, book, here=here, more=more)
    if random.random() < 0.3:
        _stale(drawn, source, name, to, path)


def _add_plain(
    drawn: Round, source: Watched, name: str, book: dict[str, Any], *, here: str, more: list[str]
) -> None:
    random, tags, text = drawn.random, source.tags(name), f"{source.address}/{name}"
    chosen = random.sample(sorted(tags), random.randint(1, len(tags)))
    match "lacking" if random.random() < 0.04 else random.choice(_PLAIN):
        case "all":
            book[text] = [here, *more]
        case "list":
            book[f"{text}:{','.join(chosen)}"] = [here, *more]
        case "regex":
            book[f"{text}:/{random.choice(('^v', '1', '^v[0-9]+$', 'e'))}/"] = [here, *more]
        case "digest":
            book[f"{text}@{tags[chosen[0]]}"] = [here, *more]
        case "mixed":
            book[f"{text}:{chosen[0]},{tags[chosen[-1]]}"] = [here, *more]
        case "retag":
            new = ",".join(f"new-{tag}" for tag in chosen)
            book[f"{text}:{','.join(chosen)}"] = [f"{here}:{new}", *more]
        case "lacking":
            book[f"{text}:{chosen[0]},gone"] = [here, *more]


class _Family:
    """Rules with options for one repository."""

    def __init__(
        self, drawn: Round, source: Watched, name: str, destinations: list[Watched], book: dict[str, Any]
    ) -> None:
        self._drawn, self._random, self._source, self._name = drawn, drawn.random, source, name
        self._destinations, self._book = destinations, book
        self._to = self._random.choice(destinations)
        self._text = f"{source.address}/{name}"

    def draw(self, family: str) -> None:
        """Add the rule of a family."""
        value = getattr(self, f"_draw_{family}")()
        if value is not None:
            self._drawn.marks.append(family)
            few = family in ("keep", "held", "ripe") and "tags" not in value and self._random.random() < 0.3
            key = f"{self._text}:{','.join(self._some())}" if few else self._text
            self._book[key] = value

    def _some(self) -> list[str]:
        known = sorted(self._source.tags(self._name))
        return self._random.sample(known, self._random.randint(1, len(known)))

    def _here(self, word: str) -> str:
        return f"{self._to.address}/{word}/{self._name[-3:]}"

    def _at(self, word: str, **options: Any) -> dict[str, Any]:
        if self._random.random() < 0.4:
            _stale(self._drawn, self._source, self._name, self._to, f"{word}/{self._name[-3:]}")
        return {"to": self._here(word), **options}

    def _draw_tags(self) -> dict[str, Any]:
        """One to three stages; with more, hardly any tag passes all of them."""
        random = self._random
        stages: dict[str, dict[str, Any]] = {
            "include": {"include": random.choice(_INCLUDES)},
            "exclude": {"exclude": random.choice((*_EXCLUDES, self._some()))},
            "versions": {"versions": random.sample(sorted(RANGES), random.randint(1, 2))},
            "newest": {"newest": random.randint(1, 2), "per": random.choice(_PER)},
            "always": {"always": [random.choice((*self._some(), "gone"))]},
            "prereleases": {"prereleases": random.random() < 0.5},
            "at_least": {"at_least": random.choice((0, 2, 9))},
        }
        said: dict[str, Any] = {}
        for stage in random.choices((*stages, "include", "exclude", "newest"), k=random.randint(1, 3)):
            said |= stages[stage]
        if "always" in said:
            # A tag that exclude and always both name makes the rule invalid.
            said["exclude"] = ["*-rc*"]
        return self._at("copy", tags=said)

    def _draw_platforms(self) -> dict[str, Any]:
        form: dict[str, Any] = {"platforms": self._platforms()}
        if self._random.random() < 0.7:
            form["attestations"] = "drop"
        return self._at("copy", **form)

    def _platforms(self) -> Any:
        return self._random.choice(
            ("all", self._platform(), [self._platform(), self._random.choice(_PLATFORMS)])
        )

    def _platform(self) -> str:
        """A platform of an index in the repository, or any platform."""
        manifests = self._source.store.create(self._name).manifests.values()
        entries = [
            entry["platform"]
            for each in manifests
            for entry in json.loads(each.content).get("manifests", ())
            if entry.get("platform", {}).get("os", "unknown") != "unknown"
        ]
        if not entries:
            return self._random.choice(_PLATFORMS)
        found = self._random.choice(entries)
        os = ":".join(filter(None, (found["os"], found.get("os.version"))))
        return "/".join(filter(None, (os, found["architecture"], found.get("variant"))))

    def _draw_two(self) -> Any:
        """Two filters of one source: to two repositories, two tags, one tag, or from two files."""
        first, second = ({"to": self._here(word), "platforms": self._platforms()} for word in ("copy", "two"))
        random, books = self._random, self._drawn.books
        second |= {"attestations": "drop"} if random.random() < 0.3 else {}
        second |= {"platforms": self._platform(), "index": "single"} if random.random() < 0.25 else {}
        match random.choice(("repositories", "tags", "tag")):
            case "tags":
                second["to"] = first["to"] + ":{tag}-two"
            case "tag":
                second["to"] = first["to"]
        if len(books) == 1 or random.random() < 0.5:
            return [first, second]
        books[0][self._text], books[1][self._text] = first, second
        self._drawn.marks.append("two-in-two-files")
        return None

    def _draw_single(self) -> dict[str, Any]:
        return self._at("copy", platforms=self._platform(), index="single")

    def _draw_sparse(self) -> dict[str, Any] | None:
        lenient = [each for each in self._destinations if not each.options.check_references]
        if not lenient:
            return self._draw_platforms()
        self._to = lenient[0]
        return self._at("sparse", platforms=self._platforms(), index="sparse")

    def _draw_keep(self) -> dict[str, Any]:
        random = self._random
        for tag in self._some() if random.random() < 0.7 else ():
            if not tag.startswith("sha256-"):
                self._to.add(f"kept/{self._name[-3:]}", content.image(content.layer(f"old {tag}")), tag)
        more: dict[str, Any] = random.choice(({}, {}, {"platforms": self._platform()}, {"force": True}))
        return {"to": self._here("kept"), "keep": random.choice(("*", "v*", ["v1*", "*alpine"])), **more}

    def _draw_held(self) -> dict[str, Any]:
        more: dict[str, Any] = self._random.choice(({}, {}, {"platforms": self._platform()}))
        if "--trust-existing" not in self._drawn.flags and self._random.random() < 0.3:
            self._drawn.flags.append("--trust-existing")
        return self._at("held", min_age="30d", **more)

    def _draw_ripe(self) -> dict[str, Any]:
        more: dict[str, Any] = self._random.choice(({}, {}, {"tags": {"newest": 2}}, {"keep": "v*"}))
        return self._at("ripe", min_age="1s", **more)

    def _draw_seen(self) -> dict[str, Any]:
        """A late tag joins each series that has been seen, so that the result is predictable."""
        known = self._source.tags(self._name)
        for word, tag in _LATE.items():
            if any(word in each for each in known) and tag not in known:
                late = content.image(content.layer(f"{self._drawn.seed} {self._name} {tag}"))
                self._drawn.late.append((self._source, self._name, late, tag))
        return {"to": self._here("seen"), "tags": {"newest": 1, "by": "seen"}}

    def _draw_optional(self) -> dict[str, Any]:
        random = self._random
        failing: dict[str, Any] = random.choice(
            ({"always": ["gone"]}, {"include": "none-*"}, {"exclude": "v*"})
        )
        return self._at("optional", optional=True, retries=random.randint(0, 2), tags=failing)

    def _draw_template(self) -> dict[str, Any]:
        last = self._random.choice(
            ("{namespace}/{name}", "{path}", "{flat}:{tag}-x", "{registry}/{rest}", "")
        )
        return {"to": f"{self._to.address}/made/{last}"}

    def _draw_list(self) -> None:
        """Lines of a plain list with one destination."""
        lines = [f"{self._text}:{tag}  # {tag}" for tag in self._some()]
        lines += [self._text] if "latest" in self._source.tags(self._name) else []
        self._drawn.to = self._drawn.to or f"{self._to.address}/listed/{{flat}}"
        self._drawn.listed += lines
        self._drawn.marks.append("list")


def add_list(drawn: Round, registry: Watched, name: str, word: str, tag: str = "") -> None:
    """Add a list of an image's companions: referrers or cosign signatures."""
    random = drawn.random
    files = [content.layer(f"{drawn.seed} {word} {number}") for number in range(random.randint(1, 2))]
    tag = tag or "sha256-" + hashlib.sha256(name.encode()).hexdigest() + random.choice(("", ".sig"))
    made = [content.artifact(each) for each in files]
    registry.add(name, content.image(*files) if tag.endswith(".sig") else content.index(*made), tag)
    drawn.marks.append(f"list-of-{word}")


def _stale(drawn: Round, source: Watched, name: str, to: Watched, path: str) -> None:
    """Put something at the destination: the same image, an incomplete copy, or another image."""
    random = drawn.random
    tag, digest = random.choice(sorted(source.tags(name).items()))
    if tag.startswith("sha256-"):
        add_list(drawn, to, path, "local", tag)
        return
    if random.random() < 0.3:
        to.add(path, content.image(content.layer("another")), tag)
        drawn.marks.append("stale-tag")
        return
    repository, there = source.store.create(name), to.store.create(path)
    there.manifests.update(repository.manifests)
    there.blobs.update(repository.blobs)
    there.tag(tag, digest)
    drawn.marks.append("prefilled")
    _, children = referred(repository.manifests[digest].content)
    if random.random() < 0.6 and children:
        drawn.marks[-1] = "prefilled-without-a-child"
        del there.manifests[children[0]]
    elif random.random() < 0.6 and "--force" in drawn.flags:
        drawn.marks[-1] = "prefilled-without-a-blob"
        there.blobs.pop(random.choice(sorted(there.blobs)))
