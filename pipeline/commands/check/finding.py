"""The result of one check, as a line for a person and as an object for a program."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pipeline import __version__
from pipeline.dataclass import dataclass
from pipeline.log import printable
from pipeline.model.units import format_count, format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.model.credential import Credential

SCHEMA = 1
"""Version of the JSON object: fields may be added, and none changes its meaning."""
FindingState = Literal["ok", "warning", "failed"]
_MARKS: dict[FindingState, str] = {"ok": "ok", "warning": "warn", "failed": "FAIL"}
_WIDEST = 50
"""Maximum width of the column of places."""
_NAMED = 3
"""Maximum repositories in one line."""
_NO_PASSWORDS = frozenset({"", "x-oauth-basic"})
"""With these usernames (GitHub's and Azure's tokens) the username is the secret itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check."""

    state: FindingState
    what: Literal["rule", "registry", "source", "mirror", "destination"]
    place: str
    """`registry`, `registry/path`, or the rule's `file:line:column`."""
    words: str
    """One line."""
    advice: str = ""
    """What the user can do; empty: nothing."""
    credential: Credential | None = None
    """The credential that was used; None: none was needed."""
    status: int | None = None
    code: str = ""
    untried: tuple[str, ...] = ()
    """Repositories that were not tried because of it."""

    def of_mirror(self) -> Finding:
        """The same finding about a mirror, which a run can do without."""
        if self.state != "failed":
            return self
        advice = "; ".join(
            part for part in (self.advice, "until then a run reads at the registry itself") if part
        )
        return replace(self, state="warning", advice=advice)

    def line(self, width: int) -> str:
        """One line for a person; places take `width` characters."""
        end = f"; what to do: {self.advice}" if self.advice else ""
        text = f"{_MARKS[self.state]:<4}  {self.what:<11}  {self.place:<{width}}  {self.words}{end}"
        return printable(text)

    def as_object(self) -> dict[str, Any]:
        """For a program; unknown values are null."""
        held = self.credential
        return {
            "state": self.state,
            "what": self.what,
            "place": self.place,
            "message": self.words,
            "what_to_do": self.advice or None,
            "credentials": held.origin if held and not held.anonymous else None,
            "user": user_of(held) if held else None,
            "status": self.status,
            "code": self.code or None,
            "untried": list(self.untried),
        }


def user_of(credential: Credential) -> str | None:
    """The username, unless it is missing or a secret."""
    is_name = credential.username and credential.password not in _NO_PASSWORDS
    return credential.username if is_name else None


def describe(credential: Credential, registry: str) -> str:
    """The login and its origin: `as "bob" (auth.json key registry.example.com)`."""
    if credential.anonymous:
        none = f"no credentials for {registry}"
        return (
            f"anonymously ({none if credential.origin == 'none' else f'{credential.origin} names no user'})"
        )
    user = user_of(credential)
    return f'as "{user}" ({credential.origin})' if user else f"by a token ({credential.origin})"


def some_of(places: Sequence[str]) -> str:
    """`r.io/a, r.io/b and 7 more`."""
    shown = ", ".join(places[:_NAMED])
    return f"{shown} and {len(places) - _NAMED:,} more" if len(places) > _NAMED else shown


def width_of(places: Sequence[str]) -> int:
    """The width of the column of places."""
    return min(max(map(len, places), default=0), _WIDEST)


def exit_code(findings: Sequence[Finding]) -> int:
    """0: a run could start; 1: part of it would fail."""
    return 1 if any(finding.state == "failed" for finding in findings) else 0


def last_line(findings: Sequence[Finding], *, seconds: float) -> str:
    """Whether a run could start, and the counts of findings."""
    states = [finding.state for finding in findings]
    failed, warned = states.count("failed"), states.count("warning")
    untried = sum(len(finding.untried) for finding in findings)
    parts = [f"{states.count('ok')} ok"]
    parts += [format_count(warned, "warning")] if warned else []
    parts += [f"{failed} FAILED"] if failed else []
    parts += [f"{format_count(untried, 'repository', 'repositories')} not tried"] if untried else []
    verdict = "not ready: fix what FAILED" if failed else "ready: a run could start"
    return f"{verdict} ({', '.join(parts)}; {format_duration(seconds)})"


def as_object(findings: Sequence[Finding], *, warnings: Sequence[str], seconds: float) -> dict[str, Any]:
    """All findings for a program."""
    states = [finding.state for finding in findings]
    return {
        "schema": SCHEMA,
        "version": __version__,
        "exit_code": exit_code(findings),
        "ready": exit_code(findings) == 0,
        "ok": states.count("ok"),
        "warnings": states.count("warning"),
        "failed": states.count("failed"),
        "seconds": round(seconds, 3),
        "notes": list(warnings),
        "checks": [finding.as_object() for finding in findings],
    }
