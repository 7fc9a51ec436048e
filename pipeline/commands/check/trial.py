"""One repository tried with the very requests of a run: what it reads at a source, writes at a destination.

A HEAD of a manifest and a page of tags need the right to pull, an upload that is opened the right to push.
The upload is cancelled; where the registry does not let us, it cleans up by itself, as after any lost push.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pipeline.commands.check.finding import Finding, describe, some_of
from pipeline.errors import RegistryError, ThrottledError
from pipeline.model.reference import DOCKER_HUB, Reference, is_tag
from pipeline.model.units import format_count, format_duration
from pipeline.report.causes import CauseGroup

if TYPE_CHECKING:
    from pipeline.commands.check.targets import CheckTarget
    from pipeline.errors import Fault
    from pipeline.model.credential import Credential
    from pipeline.model.reference import Repository
    from pipeline.registry.client import Client
    from pipeline.registry.probe import Probe

_NOTHING = f"sha256:{hashlib.sha256().hexdigest()}"
"""The blob whose upload is opened; not a byte of it is sent."""
_HUB_HOSTS = " (Docker Hub's are registry-1.docker.io and auth.docker.io)"
_SOON = dt.timedelta(days=14)
"""Before a certificate's end: who renews by a program has done it by then."""
_SKEW = 60.0
"""Seconds: tokens that live for a minute or five are refused not much later."""

_DAY = 86_400.0
_LONGEST = 366 * _DAY

Effect = Literal["open", "shut", "trouble"]
"""open: the registry knows who we are. shut: asking on is useless, or does harm: a login that is refused is
locked after a few times, a registry that asks for a pause lengthens it. trouble: it may be over soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialOutcome:
    """What a trial brought."""

    finding: Finding
    effect: Effect = "open"
    paused: bool = False
    """Whether the registry asks everybody for a pause, whoever they are."""


def judge_greeting(registry: str, greeting: Probe, now: dt.datetime) -> Finding:
    """What is to be said of how a registry presents itself."""
    words, advice = "https, certificate not verified (insecure: true)", []
    if greeting.scheme == "http":
        words = f"http, nothing is encrypted ({'insecure: true' if greeting.insecure else 'this machine'})"
    elif greeting.expires is not None:
        words = f"https, certificate good until {greeting.expires:%Y-%m-%d}"
        if greeting.expires - now < _SOON:
            left = format_count((greeting.expires - now).days, "day")
            advice.append(f"have the certificate renewed: it ends in {left}")
    if greeting.proxy:
        words += f", through the proxy {greeting.proxy}"
    if abs(greeting.ahead) > _SKEW:
        way = "ahead of" if greeting.ahead > 0 else "behind"
        words += f"; this machine's clock is {format_duration(abs(greeting.ahead))} {way} the registry's"
        advice.append("set the clock (NTP): tokens and signed URLs are refused when clocks differ")
    state: Literal["ok", "warning"] = "warning" if advice else "ok"
    return Finding(state=state, what="registry", place=registry, words=words, advice="; ".join(advice))


def judge_silence(
    registry: str, fault: Fault, untried: tuple[str, ...], credentials: tuple[Credential, ...]
) -> Finding:
    """What is to be said of a registry that cannot be reached; `credentials`: that would have been used."""
    who = ", ".join(dict.fromkeys(describe(each, registry) for each in credentials)) or "with a login"
    return Finding(
        state="failed",
        what="registry",
        place=registry,
        words=f"{_answer(fault)}; not tried {who}: {some_of(untried)}",
        advice=_advice(fault) + (_HUB_HOSTS if registry == DOCKER_HUB else ""),
        credential=credentials[0] if len(credentials) == 1 else None,
        status=fault.status,
        code=fault.code,
        untried=untried,
    )


def attempt(
    client: Client, aim: CheckTarget, credential: Credential | None, *, patience: float
) -> TrialOutcome:
    """Pull or push, as the aim says; what goes wrong is part of the answer.

    Args:
        client: of the registry, for that side.
        aim: what is wanted.
        credential: what will be used; None: it cannot be had, and the trial will say why.
        patience: seconds that a run waits for a registry that lets nothing through.
    """
    verb = "push" if aim.side == "destination" else "list and pull" if aim.lists else "pull"
    who = describe(credential, aim.repository.registry) if credential else "with a login"
    found = Finding(
        state="ok",
        what="source" if aim.side == "source" else "destination",
        place=str(aim.repository),
        words=f"{verb} {who}",
        credential=credential,
    )
    try:
        found = _pull(client, aim, found) if aim.side == "source" else _push(client, aim, found)
    except ThrottledError as error:
        return TrialOutcome(finding=_pause(found, error, patience), effect="shut", paused=True)
    except RegistryError as error:
        fault = error.fault
        without = f"{verb} without a login, for none was asked for,"
        words = f"{without if error.unasked else found.words} failed: {_answer(fault)}"
        advice = _advice(fault)
        found = replace(
            found, state="failed", words=words, advice=advice, status=fault.status, code=fault.code
        )
        effect: Effect = "shut" if error.rejected else "trouble" if fault.retryable else "open"
        return TrialOutcome(finding=found, effect=effect)
    return TrialOutcome(finding=found)


def _pull(client: Client, aim: CheckTarget, found: Finding) -> Finding:
    repository = aim.repository
    name = aim.name
    if aim.lists:
        tags = client.tags(repository, page="", count=1).tags
        listed = next((tag for tag in tags if is_tag(tag)), "")
        name = name or listed
        if not listed:
            return _warn(found, "there are no tags yet", "nothing will be copied from there")
    if client.head_manifest(Reference(repository, name), sure=True) is None:
        return _missing(client, repository, name, found)
    return found


def _missing(client: Client, repository: Repository, name: str, found: Finding) -> Finding:
    """A HEAD says no more than 404: the list tells a missing tag from a missing repository, which raises."""
    client.tags(repository, page="", count=1)
    kind = "digest" if ":" in name else "tag"
    advice = f"correct the {kind} in the rule, or take it out: its image will fail"
    return _warn(found, f"there is no {kind} {name}", advice)


def _push(client: Client, aim: CheckTarget, found: Finding) -> Finding:
    client.head_manifest(Reference(aim.repository, aim.name))
    upload = client.begin_upload(aim.repository, _NOTHING)
    if upload is not None and not upload.cancel():
        words = f"{found.words}; the registry will drop the upload that tried it by itself"
        return replace(found, words=words)
    return found


def _warn(found: Finding, words: str, advice: str) -> Finding:
    return replace(found, state="warning", words=f"{found.words}, but {words}", advice=advice)


def _pause(found: Finding, error: ThrottledError, patience: float) -> Finding:
    """A run waits for the end of a pause, and gives up if it is too long."""
    wait = min(error.asked or error.delay, _LONGEST)
    now = dt.datetime.now().astimezone()
    until = (now + dt.timedelta(seconds=wait)).strftime("%H:%M:%S" if wait < _DAY else "%Y-%m-%d %H:%M:%S")
    hint = f" ({error.fault.hint})" if error.fault.hint else ""
    asks = f"it asks for a pause until {until}" if error.asked else "it does not say until when"
    patient = wait <= patience
    return replace(
        found,
        state="warning" if patient else "failed",
        words=f"{found.words} not tried to the end: {_answer(error.fault)}{hint}; {asks}",
        advice=f"check again after {until}" + (", or begin: a run waits for it" if patient else ""),
        status=error.fault.status,
        code=error.fault.code,
    )


def _answer(fault: Fault) -> str:
    """`403 DENIED: push is not allowed`, and what it was that failed, where that is not the trial itself."""
    status = " ".join(str(part) for part in (fault.status, fault.code) if part)
    answer = ": ".join(part for part in (status, fault.words) if part)
    return f"no token: {answer}" if fault.operation.startswith("get a token") else answer


def _advice(fault: Fault) -> str:
    return CauseGroup(
        side=fault.side,
        registry=fault.registry,
        status=fault.status or 0,
        code=fault.code,
        hint=fault.hint,
        retryable=fault.retryable,
    ).advice
