"""The log alone: ten faults in a run, each with its cause, the side at fault, and what to do.

Whoever is on call has only a file of lines. So each failure is read from there, the log's advice is
followed, and its command is run: only the rule that nobody can run is left.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.e2e.lines import read_logfmt
from tests.registry.content import digest_of, image, layer
from tests.registry.faults import Corrupt, Fault, Reply, throttle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

DAMAGED = layer("damaged", size=3_000)
BAD = "team/good:/v[/"
PLACES = ("source", "mirror", "login", "gone", "tags", "strict", "busy", "nobody")


def denied(message: str) -> Reply:
    """403 with this message."""
    return Reply(status=403, body=json.dumps({"errors": [{"code": "DENIED", "message": message}]}))


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """One fault and the log lines that it must cause."""

    source: str
    """`place/repository:tag`, as a rule."""
    destination: str = "mirror/copy/x"
    side: str
    at: str
    """The place at fault; empty: the rule itself."""
    answer: str
    """Status and code, if there are any."""
    why: str
    todo: str


TROUBLES = (
    Trouble(
        source="source/team/good:missing",
        side="source",
        at="source",
        answer="404 MANIFEST_UNKNOWN",
        why="no such tag",
        todo="correct the tag in the rule, or remove the rule",
    ),
    Trouble(
        source="login/team/app:v1",
        side="source",
        at="login",
        answer="401 UNAUTHORIZED",
        why="incorrect username or password",
        todo="{login} rejects the username or password from auth.json key {login}: correct them",
    ),
    Trouble(
        source="nobody/team/app:v1",
        side="source",
        at="nobody",
        answer="401",
        why="Unauthorized",
        todo="auth.json key {nobody} has no username and password: add them there",
    ),
    Trouble(
        source="source/team/far:v1",
        destination="gone/copy/far",
        side="destination",
        at="gone",
        answer="UNREACHABLE",
        why="Connection refused",
        todo="check its name and port, DNS, firewall and proxy; then repeat the command",
    ),
    Trouble(
        source="source/team/damaged:v1",
        side="source",
        at="source",
        answer="DIGEST_MISMATCH",
        why="the content has the digest sha256:",
        todo="the source's copy is damaged: push it there again",
    ),
    Trouble(
        source="source/team/full:v1",
        destination="mirror/copy/full",
        side="destination",
        at="mirror",
        answer="403 DENIED",
        why="would exceed the quota",
        todo="raise the quota there, or delete what is not needed",
    ),
    Trouble(
        source="source/team/kept:v1",
        destination="tags/copy/kept",
        side="destination",
        at="tags",
        answer="412 TAG_IMMUTABLE",
        why="configured as immutable",
        todo="delete it there, make it mutable, or use another tag in the rule",
    ),
    Trouble(
        source="source/team/created:v1",
        destination="strict/copy/created",
        side="destination",
        at="strict",
        answer="404 NAME_UNKNOWN",
        why="does not exist in the registry",
        todo="create the repository, or its project or namespace, first: a push does not create it",
    ),
    Trouble(
        source="busy/team/app:v1",
        side="source",
        at="busy",
        answer="429",
        why="no request accepted for",
        todo="repeat the command later, or with a longer --patience",
    ),
    Trouble(
        source=f"source/{BAD}",
        side="",
        at="",
        answer="RULE_INVALID",
        why="images.json:1:",
        todo="correct the rules file",
    ),
)


@pytest.fixture
def places(scripted: Scripted) -> Mapping[str, Registry]:
    """The registries at which the faults happen."""
    options: dict[str, dict[str, object]] = {
        "login": {"auth": "token", "password": "new"},
        "nobody": {"auth": "basic", "password": "new"},
        "tags": {"immutable": "harbor"},
        "strict": {"create_first": True},
    }
    made = {name: scripted(**options.get(name, {})) for name in PLACES}
    source, base = made["source"], layer("base", size=10_000)
    for name in ("good", "far", "full", "kept", "created"):
        source.add(f"team/{name}", image(base, layer(name)), "v1")
    source.add("team/damaged", image(DAMAGED, base), "v1")
    for name in ("login", "nobody", "busy"):
        made[name].add("team/app", image(base, layer(name)), "v1")
    source.fault(Fault(action=Corrupt(), method="GET", path=f"/blobs/{digest_of(DAMAGED)}", times=None))
    quota = denied("adding 10 KB would exceed the quota")
    made["mirror"].fault(Fault(action=quota, method="PUT", path="copy/full/blobs", times=None))
    made["tags"].add("copy/kept", image(layer("other")), "v1")
    made["busy"].fault(throttle(retry_after="1", times=None))
    made["gone"].stop()
    return made


def address(text: str, places: Mapping[str, Registry]) -> str:
    """The text with addresses instead of the names of places."""
    return re.sub(rf"^({'|'.join(PLACES)})/", lambda match: f"{places[match[1]].address}/", text)


def log_in(command: Command, places: Mapping[str, Registry], *, password: str, nobody: bool) -> None:
    """Write auth.json."""
    keys: dict[str, dict[str, object]] = {each.address: {"insecure": True} for each in places.values()}
    keys[places["login"].address] |= {"username": "user", "password": password}
    if not nobody:
        keys[places["nobody"].address] |= {"username": "user", "password": password}
    command.write("auth.json", keys)


def run(command: Command, places: Mapping[str, Registry], form: str) -> str:
    """Run everything; returns the log."""
    rules = {
        address(each.source, places): address(
            f"{each.destination}{number if each.destination[-1] == 'x' else ''}", places
        )
        for number, each in enumerate(TROUBLES)
    }
    rules[f"{places['source'].address}/team/good:v1"] = f"{places['mirror'].address}/copy/good"
    command.rules(rules)
    log_in(command, places, password="old", nobody=True)
    words = ("--retries", "1", "--patience", "2s", "--progress-interval", "0.5s")
    result = command.run("--log", "log", "--log-format", form, *words)
    assert result.code == 1, result.text
    return (command.folder / "log").read_text()


def test_logfmt_has_each_cause_once(command: Command, places: Mapping[str, Registry]) -> None:
    """logfmt: a program finds each cause once with all that is known of it, and the rule of each image."""
    lines = read_logfmt(run(command, places, "logfmt"))
    causes = {line["source"]: line for line in lines if line["event"] == "run.cause"}
    names = {name: place.address for name, place in places.items()}

    assert len(causes) == len(TROUBLES)
    for trouble in TROUBLES:
        cause = causes[address(trouble.source, places)]
        answer = " ".join(cause[key] for key in ("status", "code") if key in cause)
        assert trouble.side == cause.get("side", "")
        assert names.get(trouble.at, "") == cause.get("registry", "")
        assert answer.startswith(trouble.answer)
        assert trouble.why in cause["reason"]
        assert trouble.todo.format(**names) in cause["advice"]
    failed = {line["rule"]: line for line in lines if line["event"] == "image.failed"}
    for trouble in TROUBLES[:-1]:
        line = failed[address(trouble.source, places)]
        assert line["line"] == "1"
        assert trouble.todo.format(**names) in line["msg"].partition("; what to do: ")[2]
    rejected = [line["registry"] for line in lines if line["event"] == "credentials.rejected"]
    assert rejected == [names["login"]]


def test_text_explains_each_cause(command: Command, places: Mapping[str, Registry]) -> None:
    """text: a person finds each cause in one line with all of that, and how long a pause may still take."""
    text = run(command, places, "text")
    names = {name: place.address for name, place in places.items()}

    for trouble in TROUBLES:
        source = address(trouble.source, places)
        example = re.compile(rf": 1 (?:image|rule), {re.escape(source)} -> ")
        [line] = [line for line in text.splitlines() if example.search(line)]
        whose = f"{trouble.side} {names[trouble.at]}: " if trouble.at else ""
        assert f"error   {whose}{trouble.answer}" in line
        assert trouble.why in line
        assert trouble.todo.format(**names) in line.partition("; what to do: ")[2]
    assert re.search(
        rf"{names['busy']} limits the rate \(429\); next request in \ds; \d+ images are open,"
        r" others continue; giving up in [0-2]s unless it accepts a request \(--patience\)",
        text,
    )
    assert re.search(rf"images, \d+ failed, .*, {names['busy']} paused for \ds \(\d+ tasks? waiting\)", text)


def test_following_the_advice_completes_the_run(
    command: Command, places: Mapping[str, Registry], scripted: Scripted
) -> None:
    """After following the log's advice and running its command, everything but the invalid rule is copied."""
    lines = read_logfmt(run(command, places, "logfmt"))
    [again] = [line["command"] for line in lines if line["event"] == "run.again"]

    base = layer("base", size=10_000)
    places["source"].add("team/good", image(base, layer("good")), "missing")
    for name in ("source", "mirror", "busy"):
        places[name].clear_faults()
    places["tags"].set(immutable="no")
    places["strict"].create("copy/created")
    scripted(port=int(places["gone"].address.rpartition(":")[2]))
    log_in(command, places, password="new", nobody=False)
    program, *words = shlex.split(again)
    result = command.run(*words)

    assert program == "image-syncer"
    assert result.code == 1, result.text
    finish = [
        line for line in read_logfmt((command.folder / "log").read_text()) if line["event"] == "run.finish"
    ]
    assert [(line["copied"], line["failed"], line["rules_failed"]) for line in finish] == [
        ("1", "9", "1"),
        ("9", "0", "1"),
    ]
