"""The verbs: what each is for, its own flags, and what it does with the flags of a run.

Every verb accepts the command line of a run, so that people can put `plan` or `check` before the command of
a timer or a job. A flag that does not apply to the verb has no effect, and a debug line says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.cli import cluster_flags, shard_flags
from pipeline.dataclass import dataclass

if TYPE_CHECKING:
    from argparse import Action
    from collections.abc import Iterable

_LISTS = ("--output-success-images", "--output-images-format")
_METRICS = ("--metrics-listen", "--metrics-file")
_LOG = ("--log", "--log-format", "--progress-interval")
_WORDS = "[SOURCE DESTINATION...]"
_RUN_CODES = """\
Exit codes: 0 all present, 1 some failed, 2 usage or files, 3 this machine (disk
full, records in use), 129/130/143 interrupted: repeat the command to resume.
"""
_READ_CODES = "Exit codes: 0 {good}, 1 {bad}, 2 usage or files,\n3 this machine, 129/130/143 interrupted.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbEntry:
    """One verb of the command line."""

    meaning: str
    """What it does, in one phrase."""
    words: str = ""
    """The arguments that may follow it, as shown in help."""
    codes: str = _RUN_CODES
    """Its exit codes."""
    unused: frozenset[str] = frozenset()
    """Flags of a run that have no effect here."""
    used: frozenset[str] = frozenset()
    """If not empty: the only flags of a run that have an effect here."""

    def uses(self, names: Iterable[str]) -> bool:
        """Whether a flag of a run, by all its names, has an effect."""
        if self.used:
            return not self.used.isdisjoint(names)
        return self.unused.isdisjoint(names)


VERBS = {
    "sync": VerbEntry(meaning="copy what the rules file names (the default)"),
    "copy": VerbEntry(
        meaning="copy SOURCE to each DESTINATION: one rule, given here", words="SOURCE DESTINATION..."
    ),
    "check": VerbEntry(
        meaning="try every registry and login that a run needs",
        words=_WORDS,
        codes=_READ_CODES.format(good="a run could start", bad="something is missing"),
        unused=frozenset(
            (
                *_LISTS,
                *_METRICS,
                *_LOG,
                *shard_flags.NAMES,
                *cluster_flags.NAMES,
                *("--output-failed-images", "--report", "--drain", "--dry-run", "--trust-existing"),
            )
        ),
    ),
    "plan": VerbEntry(
        meaning="show what a run would do and cost; writes nothing",
        words=_WORDS,
        codes=_READ_CODES.format(good="a run could do it", bad="something would fail"),
        unused=frozenset((*_LISTS, *_METRICS, "--output-failed-images", "--drain")),
    ),
    "verify": VerbEntry(
        meaning="compare both sides, down to every blob; changes nothing",
        words=_WORDS,
        codes=_READ_CODES.format(good="all present and equal", bad="something differs"),
        unused=frozenset((*_LISTS, *_METRICS, "--force", "--drain", "--dry-run")),
    ),
    "list": VerbEntry(
        meaning="list the repositories of a registry, namespace or pattern",
        words="REGISTRY/NAMESPACE",
        codes=_READ_CODES.format(good="listed", bad="a listing failed"),
        used=frozenset({"--auth", "--config", "--tags", "--json", "--quiet", "--patience", "--log-level"}),
    ),
    "status": VerbEntry(
        meaning="show the progress or the end of the last run in --records",
        codes="Exit codes: 0 running, or all present; 1 failed or stopped; 3 no records.\n",
        used=frozenset({"--records", "--json", "--log-level", *shard_flags.NAMES}),
    ),
}
OWN = {"--deep": "verify", "--explain": "plan", "--tags": "list"}
"""Flags of one verb only."""
WITH_WORDS = ("copy", "check", "plan", "verify")
"""Verbs that accept one rule as arguments instead of a rules file."""
_OF_WORDS = ("--all-tags", "--insecure", "--src-creds", "--dest-creds")
"""Flags of a rule that is given as arguments."""


def is_shown(action: Action, verb: str) -> bool:
    """Whether the help of a verb shows a flag."""
    names = action.option_strings
    if action.dest in ("help", "version", "schema"):
        return action.dest == "help"
    if any(name in _OF_WORDS for name in names):
        return verb in WITH_WORDS
    owner = next((OWN[name] for name in names if name in OWN), verb)
    return owner == verb and VERBS[verb].uses(names)


def listed() -> str:
    """All verbs with their meanings, a line each, as help shows them."""
    return "\n".join(f"  {name:<8}{verb.meaning}" for name, verb in VERBS.items())
