"""Plays one round: registries, the command with what is to befall it, and the checker after each run."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tests.chaos.blows import Victim, sessions_left
from tests.chaos.checker import Said, Task, hopeless, judge
from tests.chaos.draw import damage, draw, fill
from tests.chaos.expect import Pair, Wanted
from tests.chaos.secrets import leaks
from tests.chaos.watch import Watched

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chaos.draw import Round
    from tests.chaos.draw_faults import Blow
    from tests.chaos.expect import Rules, World
    from tests.registry.faults import Fault

LONGEST = 90.0
"""Seconds of one run; more is a hang."""
_ENDS = {"INT": 130, "INT twice": 130, "INT to all": 130, "TERM": 143, "HUP": 129}
_FATAL = {"supervisor", "everything"}
_TRACES = ("Traceback (most recent", "Exception ignored", "task.broken", "run.broken", "leaked ")


@dataclass(slots=True)
class Played:
    """What came of a round."""

    seed: int
    brief: str
    delivered: list[str] = field(default_factory=list)
    """Faults, kills and signals that took place, in words."""
    codes: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Stage:
    """A round while it is played."""

    def __init__(self, drawn: Round, registries: list[Watched], folder: Path) -> None:
        """Fill the registries, write the files, note what is there."""
        self.drawn, self.registries, self.folder = drawn, registries, folder
        fill(drawn, registries)
        world = self.world()
        wanted = Wanted(*(tuple(filter(None, text.split(","))) for text in (drawn.os, drawn.arch)))
        self.task = Task(rules=drawn.rules, sources=world, wanted=wanted)
        fixed = {
            each.address
            for each, options in zip(registries, drawn.options, strict=True)
            if options.get("immutable", "no") != "no"
        }
        refused = {pair for pair in self.task.pairs() if not self._takes(pair)}
        lost = damage(drawn, registries)
        self.hopeless = hopeless(self.task, world, immutable=fixed, refused=refused, lost=lost)
        for registry in registries:
            registry.store.watching = True
        self._write()
        self.played = Played(drawn.seed, drawn.brief())
        self.kills = 0

    def world(self) -> World:
        """What all registries hold."""
        return {place: held for registry in self.registries for place, held in registry.world().items()}

    def _takes(self, pair: Pair) -> bool:
        """Whether the destination takes schema 1, if it is some."""
        options = {each.address: each.options for each in self.registries}[pair.destination.registry]
        digest = self.task.digest(pair)
        if options.schema1 or digest is None:
            return True
        held = self.task.sources[pair.source.registry, pair.source.repository]
        return bool(json.loads(held.manifests[digest][0])["schemaVersion"] != 1)

    def _write(self) -> None:
        auth = {
            each.address: {"insecure": True}
            | ({} if each.options.auth == "none" else {"username": "user", "password": each.options.password})
            for each in self.registries
        }
        (self.folder / "auth.json").write_text(json.dumps(auth))
        (self.folder / "images.json").write_text(json.dumps(self.drawn.rules, indent=1))

    def run(self, faults: list[tuple[int, Fault]], blows: list[Blow], *, hurried: bool) -> int:
        """Run the command once and check it; returns its exit code."""
        before = [len(each.faults.met) for each in self.registries]
        for number, fault in faults:
            self.registries[number].fault(fault)
        for name in ("done.json", "failed.json"):
            (self.folder / name).unlink(missing_ok=True)
        victim = Victim(self.folder, self._flags(), hurried=hurried)
        due: list[dict[int, list[Callable[[], None]]]] = [{} for _ in self.registries]
        for blow in blows:
            due[blow.registry].setdefault(blow.request, []).append(partial(self._strike, victim, blow))
        for registry, moments in zip(self.registries, due, strict=True):
            registry.faults.schedule(moments)
        with victim:
            code = victim.wait(LONGEST)
        for registry in self.registries:
            registry.release()
            registry.clear_faults()
            registry.faults.schedule({})
        met = [met for each, n in zip(self.registries, before, strict=True) for met in each.faults.met[n:]]
        self.played.delivered += [f"{each.kind}@{each.method}" for each in met]
        self.played.delivered += victim.struck
        self.kills += len(set(victim.struck) - {"expire"})
        self.played.codes.append(code)
        self.played.wrong += self._check(victim, code, excused=bool(met or victim.struck))
        return code

    def _strike(self, victim: Victim, blow: Blow) -> None:
        if blow.kind == "expire":
            victim.struck.append("expire")
            self.registries[blow.registry].expire_tokens()
        else:
            victim.strike(blow.kind, blow.choice)

    def _flags(self) -> list[str]:
        drawn = self.drawn
        platforms = [f"--os={drawn.os}"] * bool(drawn.os) + [f"--arch={drawn.arch}"] * bool(drawn.arch)
        files = ["--output-success-images=done.json", "--output-images-format=json"]
        return [*drawn.flags, *platforms, *files, "--output-failed-images=failed.json", "--patience=8s"]

    def _check(self, victim: Victim, code: int, *, excused: bool) -> list[str]:
        """What is wrong with how a run ended, and with what it left."""
        number = len(self.played.codes)
        wrong = sessions_left(victim.pid)
        said = victim.text + self._logged()
        wrong += [f"{trace.strip()!r} in what it said" for trace in _TRACES if trace in said]
        if code == -999:
            return [f"run {number}: it did not end in {LONGEST} s", *wrong]
        allowed = {0, 1} | {_ENDS[kind] for kind in victim.struck if kind in _ENDS}
        if _FATAL & set(victim.struck):
            allowed.add(-9)
        if code not in allowed:
            wrong.append(f"exit code {code}")
        if code >= 0:
            done, failed = self._read("done.json"), self._read("failed.json")
            if done is None or failed is None:
                wrong.append(f"exit {code} without the files of successes and failures")
            else:
                said_so = Said(code=code, done=done, failed=failed)
                unsure = set(self.task.pairs()) if excused else self.hopeless
                wrong += judge(self.task, said_so, self.world(), unsure=unsure)
                bad = [text for text in self.drawn.rules if "UPPER" in text or text.endswith("/absent")]
                wrong += [f"the rule {text} is in no list" for text in bad if text not in failed]
        return [f"run {number}: {each}" for each in wrong]

    def _logged(self) -> str:
        path = self.folder / "run.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _read(self, name: str) -> Rules | None:
        path = self.folder / name
        found: Rules | None = json.loads(path.read_text()) if path.exists() else None
        return found

    def check_end(self, code: int) -> None:
        """After a run that nothing disturbed: all that can be there is, and nothing was done twice."""
        failed = set(self.task.pairs(self._read("failed.json") or {})) & set(self.task.pairs())
        wrong = [f"undisturbed, and yet not there: {pair}" for pair in sorted(failed - self.hopeless)]
        wrong += [f"cannot be there, and is not said: {pair}" for pair in sorted(self.hopeless - failed)]
        bad = {"bad-rule", "absent-repository"} & set(self.drawn.marks)
        if code != int(bool(failed or bad)):
            wrong.append(f"undisturbed, and yet exit code {code}")
        for registry in self.registries:
            wrong += registry.store.early
            wrong += registry.errors()
            wrong += registry.sent_twice(kills=self.kills)
        wrong += leaks(self.folder, self.registries)
        self.played.wrong += [f"end: {each}" for each in wrong]


def play(seed: int, folder: Path) -> Played:
    """Play the round of a seed in a folder of its own, which stays where something is wrong."""
    began = time.monotonic()
    drawn = draw(seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        registries = [stack.enter_context(Watched(**options)) for options in drawn.options]
        stage = Stage(drawn, registries, folder)
        for faults, blows in drawn.runs:
            stage.run(faults, blows, hurried=True)
        stage.check_end(stage.run([], [], hurried=False))
    played = stage.played
    played.seconds = time.monotonic() - began
    (folder / "round.json").write_text(
        json.dumps({"seed": seed, "drawn": played.brief, "delivered": played.delivered,
                    "codes": played.codes, "wrong": played.wrong}, indent=1)
    )  # fmt: skip
    if not played.wrong:
        shutil.rmtree(folder)
    return played
