"""Plays one round: registries, the command with its faults, and the checker after each run."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.chaos.attached import ALWAYS
from tests.chaos.blows import Victim, sessions_left
from tests.chaos.checker import LONG, Said, Task, flaw
from tests.chaos.choosing import LISTS
from tests.chaos.crew import Crew, assemble, storm
from tests.chaos.draw import damage, draw, fill
from tests.chaos.draw_faults import FORGETFUL, Trouble
from tests.chaos.expect import Form, Held, Pair, Place, Wanted
from tests.chaos.judge import certain_failures, conflict_losers, judge, unwanted
from tests.chaos.mishaps import Mishaps
from tests.chaos.rules import read_rules
from tests.chaos.secrets import leaks
from tests.chaos.watch import Watched
from tests.registry import content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.chaos.draw import Round
    from tests.chaos.draw_faults import Blow
    from tests.chaos.expect import World
    from tests.chaos.rules import Rule

_ENDS = {"INT": 130, "INT twice": 130, "INT to all": 130, "TERM": 143, "HUP": 129}
_FATAL = {"supervisor", "everything"}
_NOBODY = {"scheduler for good", "workers for good"}
"""After these the run cannot go on: it says so with exit code 3."""
_MACHINE, _SIGNALLED = 3, 128
_STOPPED = "not fully expanded"
_RECORDS = FORGETFUL - {"pickle"}
_HARMLESS = {"expire", "password", "lose", *_RECORDS}
"""Blows after which nothing is sent a second time."""
_NOTHING = Trouble(faults=(), blows=(), after=())
_RIPE = 1.1
"""Seconds after which short quarantines are over."""
_TRACES = ("Traceback (most recent", "Exception ignored", "task.broken", "run.broken", "leaked ")


@dataclass(slots=True)
class Played:
    """The result of a round."""

    seed: int
    brief: str
    delivered: list[str] = field(default_factory=list)
    """Faults, kills and signals that took place, in words."""
    codes: list[int] = field(default_factory=list)
    runs: list[tuple[list[str], int]] = field(default_factory=list)
    """For each run: what happened, by kind, and the exit code."""
    requests: int = 0
    """Requests to all registries in all runs."""
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Stage:
    """A round while it is played."""

    def __init__(self, drawn: Round, registries: list[Watched], folder: Path, crew: Crew) -> None:
        """Fill the registries, write the files, and record the initial content."""
        self.drawn, self.registries, self.folder, self.crew = drawn, registries, folder, crew
        self.mishaps = Mishaps(registries, drawn.sources, folder)
        fill(drawn, registries)
        self._wants: dict[tuple[str, str], set[str]] = {}
        self._write()
        if drawn.late:
            self._see()
        self._first = self.world()
        late = {Place(source.address, name, tag) for source, name, _, tag in drawn.late}
        force, trust = ("--force" in drawn.flags), ("--trust-existing" in drawn.flags)
        systems, machines = (tuple(filter(None, text.split(","))) for text in (drawn.os, drawn.arch))
        base = Form(Wanted(systems, machines))
        rules = drawn.rules(base)
        self.task = Task(
            rules=rules,
            sources=self._first,
            base=base,
            late=late,
            force=force,
            trust=trust,
            always=ALWAYS in drawn.flags,
            apis={each.address for each in registries if each.options.referrers != "no"},
        )
        self._lost = damage(drawn, registries)
        self.certain_failures = self._certain_failures()
        for registry in registries:
            registry.store.watching = True
        self.played = Played(drawn.seed, drawn.brief())
        self.kills = 0

    def _see(self) -> None:
        """Let the command see the sources before the late tags are added."""
        books = [each for book in self.drawn.books for each in book.items()]
        seen = {source: value for source, value in books if "seen" in json.dumps(value)}
        (self.folder / "seen.json").write_text(json.dumps(seen))
        with Victim(self.folder, ["--images=seen.json"], crew=Crew(), hurried=True, descriptors=0) as victim:
            victim.wait(Crew.longest)
        for source, name, what, tag in self.drawn.late:
            source.add(name, what, tag)

    def _certain_failures(self) -> set[Pair]:
        fixed = {
            each.address
            for each, options in zip(self.registries, self.drawn.options, strict=True)
            if options.get("immutable", "no") != "no"
        }
        refused = {pair for pair in self.task.pairs() if not self._accepts(pair)}
        return certain_failures(self.task, self._first, immutable=fixed, refused=refused, lost=self._lost)

    def world(self) -> World:
        """The content of all registries."""
        return {place: held for registry in self.registries for place, held in registry.world().items()}

    def _accepts(self, pair: Pair) -> bool:
        """Whether the destination takes the image, if it is schema 1."""
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
            | ({} if each.options.catalogue == "no" else {"catalog": each.options.catalogue})
            for each in self.registries
        }
        (self.folder / "auth.json").write_text(json.dumps(auth))
        for name, text in self.drawn.files.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    def run(self, trouble: Trouble, *, hurried: bool) -> int:
        """Run the command once and check it; returns its exit code."""
        before, there = [len(each.faults.met) for each in self.registries], self.world()
        for number, fault in trouble.faults:
            self.registries[number].fault(fault)
        for name in ("done.json", "failed.json"):
            (self.folder / name).unlink(missing_ok=True)
        self._write()
        few = self.drawn.descriptors
        flags = self._flags(last=not hurried)
        if "--force" in flags and not self.task.force:
            fates = {pair: self.task.fate(pair, rule, there) for pair, rule in self.task.pairs().items()}
            unseen = {pair for pair, fate in fates.items() if fate == "kept"}
            self.task = replace(self.task, force=True, unseen=unseen)
            self.certain_failures = self._certain_failures()
        victim = Victim(self.folder, flags, crew=self.crew, hurried=hurried, descriptors=few)
        due: list[dict[int, list[Callable[[], None]]]] = [{} for _ in self.registries]
        for blow in trouble.blows:
            due[blow.registry].setdefault(blow.request, []).append(partial(self._strike, victim, blow))
        for registry, moments in zip(self.registries, due, strict=True):
            registry.faults.schedule(moments)
        with victim:
            code = victim.wait(self.crew.longest)
        for registry in self.registries:
            registry.release()
            registry.clear_faults()
            registry.faults.schedule({})
        self.mishaps.settle()
        self.crew.settle()
        met = [met for each, n in zip(self.registries, before, strict=True) for met in each.faults.met[n:]]
        self.played.delivered += [f"{each.kind}@{each.method}" for each in met]
        self.played.delivered += victim.struck
        self.kills += sum(kind not in _HARMLESS for kind in victim.struck)
        self.played.codes.append(code)
        self.played.runs.append(([*(each.kind for each in met), *victim.struck], code))
        excused = bool(met or victim.struck)
        self.played.wrong += self._check(victim, code, there, excused=excused, hurried=hurried)
        return code

    def _strike(self, victim: Victim, blow: Blow) -> None:
        if blow.kind not in self.mishaps.kinds:
            victim.strike(blow.kind, blow.choice)
        elif self.mishaps.happen(blow.kind, blow.registry, blow.choice):
            victim.struck.append(blow.kind)

    def apply_between_runs(self, blow: Blow) -> None:
        """Make it happen between two runs."""
        if blow.kind == "tag lost":
            # A list of companions would lose its own entries, which no run could restore.
            pairs = {
                pair
                for pair, rule in self.task.pairs().items()
                if not LISTS.fullmatch(pair.destination.name) and not (rule.keep or rule.min_age)
            }
            happened = self.mishaps.lose_tag(pairs - self.certain_failures, blow.choice)
        elif blow.kind == "source moved" and self.drawn.immutable:
            happened = False
        else:
            happened = self.mishaps.happen(blow.kind, blow.registry, blow.choice)
        if not happened:
            return
        self.played.delivered.append(f"then {blow.kind}")
        if blow.kind == "source moved":
            self.task = replace(self.task, sources=self._first | dict(self._sources_now()))
            self.certain_failures = self._certain_failures()

    def wait_for_quarantines(self) -> None:
        """See every image, and wait until short quarantines are over."""
        self.run(_NOTHING, hurried=True)
        time.sleep(_RIPE)
        fresh = set(self._move_ripe_tags()) if self.drawn.random.random() < 0.5 else set()
        sources = dict(self._sources_now()) if fresh else {}
        self.task = replace(self.task, ripe=True, fresh=fresh, sources=self.task.sources | sources)
        self.certain_failures = self._certain_failures()

    def _move_ripe_tags(self) -> Iterator[Place]:
        """Move the tags of rules with a short quarantine to images that no run has seen."""
        by_address = {registry.address: registry for registry in self.registries}
        for pair, rule in self.task.pairs().items():
            repository, name = pair.source.repository, pair.source.name
            is_tag = repository.startswith("team/") and not (":" in name or LISTS.fullmatch(name))
            if 0 < rule.min_age < LONG and is_tag and self.task.digest(pair):
                what = content.image(content.layer(f"fresh {repository} {name}"))
                by_address[pair.source.registry].add(repository, what, name)
                yield pair.source

    def _sources_now(self) -> Iterator[tuple[tuple[str, str], Held]]:
        """The repositories that rules name; what `damage` removed still counts as their content."""
        for place, held in self.world().items():
            if place[1].startswith("team/"):
                yield place, replace(held, blobs=self._first[place].blobs | held.blobs)

    def _flags(self, *, last: bool) -> list[str]:
        drawn = self.drawn
        force = ["--force"] * (last and bool(self.mishaps.lapsed) and "--force" not in drawn.flags)
        platforms = [f"--os={drawn.os}"] * bool(drawn.os) + [f"--arch={drawn.arch}"] * bool(drawn.arch)
        files = ["--output-success-images=done.json", "--output-images-format=json"]
        files += ["--output-failed-images=failed.json", f"--patience={self.crew.patience}s"]
        return [*drawn.flags, *force, *platforms, *files, *drawn.images, *["--json"] * last]

    def _lapsed(self) -> set[Pair]:
        """The images that may be missing after a disturbed run."""
        places = self.mishaps.lapsed | self.mishaps.healing
        return {pair for pair in self.task.pairs() if pair.destination[:2] in places}

    def _check(self, victim: Victim, code: int, before: World, *, excused: bool, hurried: bool) -> list[str]:
        """The errors in how a run ended and in what it left."""
        number = len(self.played.codes)
        wrong = sessions_left(victim.pid)
        said = victim.text + self._logged()
        excused_words = self.crew.last_words if _FATAL & set(victim.struck) else ()
        wrong += [
            f"{trace.strip()!r} in what it said"
            for trace in _TRACES
            if trace in said and trace not in excused_words
        ]
        if code == -999:
            return [f"run {number}: it did not end in {self.crew.longest} s", *wrong]
        allowed = {0, 1} | {_ENDS[kind] for kind in victim.struck if kind in _ENDS}
        if _FATAL & set(victim.struck):
            allowed.add(-9)
        if (_RECORDS | _NOBODY) & set(victim.struck):
            allowed.add(_MACHINE)
        if code not in allowed:
            wrong.append(f"exit code {code}")
        if code > _SIGNALLED and _STOPPED not in said:
            wrong.append(f"exit code {code}, and no word of what is begun and what is not expanded")
        if code >= 0:
            done, failed = self._read("done.json"), self._read("failed.json")
            if done is None or failed is None:
                # Without records the images cannot be listed; exit code 3 says so, or the signal's.
                unlisted = code == _MACHINE or (code > _SIGNALLED and bool(_RECORDS & set(victim.struck)))
                wrong += [f"exit {code} without the files of successes and failures"] * (not unlisted)
            else:
                said_so = Said(code=code, done=done, failed=failed)
                unsure = set(self.task.pairs()) if excused else self.certain_failures
                lapsed = self._lapsed() if excused or hurried else set()
                world = self.world()
                wrong += judge(self.task, said_so, world, before=before, unsure=unsure, lapsed=lapsed)
                wrong += unwanted(self.task, world, first=self._first, known=self._wants)
                failing = {rule.source for rule in self.task.failing()} - failed.keys()
                wrong += [f"the rule {text} fails, and is in no list" for text in failing]
                wrong += [] if excused or hurried else self._check_counts(victim.text, before)
        return [f"run {number}: {each}" for each in wrong]

    def _check_counts(self, said: str, before: World) -> list[str]:
        """Errors in the numbers of kept and held images that an undisturbed run reports."""
        line = next((line for line in said.splitlines() if line.startswith('{"schema"')), "")
        if not line:
            return ["no summary in JSON"]
        images, pairs = json.loads(line)["images"], self.task.pairs().items()
        fates = [(pair, self.task.fate(pair, rule, before)) for pair, rule in pairs]
        kept, held = (sum(fate == wanted for _, fate in fates) for wanted in ("kept", "held"))
        equal = sum(fate in ("held", "either") and not flaw(self.task, pair, before) for pair, fate in fates)
        either = sum(fate == "either" for _, fate in fates)
        wrong = [f"{images['kept']} are said to be kept, not {kept}"] * (images["kept"] != kept)
        if not held - equal <= images["held"] <= held + either:
            wrong.append(f"{images['held']} are said to be held, of {held} and {either} that may be")
        return wrong

    def _logged(self) -> str:
        path = self.folder / "run.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.folder / name
        found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
        return found

    def check_end(self, code: int) -> None:
        """After an undisturbed run, everything that can be there is there, and nothing was done twice."""
        task, pairs = self.task, self.task.pairs()
        listed = task.pairs(self._listed("failed.json"))
        failed = {pair: rule for pair, rule in listed.items() if pair in pairs}
        lost = conflict_losers(task, self.certain_failures)
        # An earlier copy may be complete although its source has lost content; `judge` checks it.
        named = {pair[:2] for pair in task.pairs(self._listed("done.json"))}
        done = {pair for pair in pairs if pair[:2] in named}
        wrong = [f"undisturbed, and yet not there: {pair}" for pair in failed.keys() - self.certain_failures]
        wrong += [
            f"cannot be there, and is not said: {pair}"
            for pair in self.certain_failures - failed.keys() - lost - done
        ]
        obliged = [*failed.values(), *(pairs[pair] for pair in lost), *task.failing()]
        if code != int(not all(rule.optional for rule in obliged)):
            wrong.append(f"undisturbed, and yet exit code {code}")
        for registry in self.registries:
            wrong += registry.store.early
            wrong += registry.errors()
            if not self._has_lost_records():
                wrong += registry.sent_twice(kills=self.kills)
        wrong += leaks(self.folder, self.registries)
        wrong += ["a planted pickle was loaded"] * self.mishaps.executed.exists()
        self.played.wrong += [f"end: {each}" for each in wrong]

    def _listed(self, name: str) -> list[Rule]:
        return read_rules(self._read(name) or {}, self.task.base)

    def _has_lost_records(self) -> bool:
        """Whether the records were lost: only they knew which uploaded blobs had no tag yet."""
        return bool(FORGETFUL & {each.removeprefix("then ") for each in self.played.delivered})


def play(seed: int, folder: Path, *, calm: bool = False, engine: str = "local") -> Played:
    """Play the round of a seed in a folder of its own, which is kept if something is wrong.

    Args:
        seed: decides everything.
        folder: is emptied first.
        calm: whether to leave out the faults, to compare the cost of the round.
        engine: who runs tasks.
    """
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        crew = assemble(engine, seed, folder)
        stack.callback(crew.close)
        drawn = draw(seed, crew.blows)
        drawn.marks += filter(None, [crew.brief])
        if crew.has_storm:
            drawn.runs[0] = replace(drawn.runs[0], blows=storm(drawn.sources))
        registries = [stack.enter_context(Watched(**options)) for options in drawn.options]
        stage = Stage(drawn, registries, folder, crew)
        for trouble in () if calm else drawn.runs:
            stage.run(trouble, hurried=True)
            for blow in trouble.after:
                stage.apply_between_runs(blow)
        if "ripe" in drawn.marks:
            stage.wait_for_quarantines()
        stage.check_end(stage.run(_NOTHING, hurried=False))
    played = stage.played
    played.requests = sum(registry.count() for registry in registries)
    played.seconds = time.monotonic() - began
    (folder / "round.json").write_text(
        json.dumps({"seed": seed, "drawn": played.brief, "delivered": played.delivered,
                    "codes": played.codes, "wrong": played.wrong}, indent=1)
    )  # fmt: skip
    if not played.wrong:
        shutil.rmtree(folder)
    return played
