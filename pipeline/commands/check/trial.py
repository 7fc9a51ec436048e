"""Try one repository with the requests of a run: reading at a source, writing at a destination.

A HEAD of a manifest and a page of tags need the right to pull; opening an upload needs the right to push. The
upload is cancelled; if the registry refuses that, it removes the upload later, as after any lost push.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

from pipeline.commands.check.finding import Finding, describe, some_of
from pipeline.dataclass import dataclass
from pipeline.errors import RegistryError, ThrottledError
from pipeline.model.reference import DOCKER_HUB, Reference, Repository, is_tag
from pipeline.model.registry_settings import NO_SETTINGS
from pipeline.model.units import format_count, format_duration
from pipeline.report.causes import CauseGroup

if TYPE_CHECKING:
    from pipeline.commands.check.targets import CheckTarget
    from pipeline.errors import Fault
    from pipeline.model.credential import Credential
    from pipeline.model.registry_settings import RegistrySettings
    from pipeline.registry.client import Client
    from pipeline.registry.image_store import Catalogue
    from pipeline.registry.probe import Probe

_NOTHING = f"sha256:{hashlib.sha256().hexdigest()}"
"""The blob whose upload is opened; no content is sent."""
_SAMPLE = "image-syncer-check"
"""Repository and tag that are asked for where a listing names the repositories."""
_NO_RIGHT = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
_HUB_HOSTS = " (Docker Hub's are registry-1.docker.io and auth.docker.io)"
_SOON = dt.timedelta(days=14)
"""Time before a certificate's expiry; automatic renewal happens earlier."""
_SKEW = 60.0
"""Seconds: some tokens are valid for only one to five minutes."""

_DAY = 86_400.0
_LONGEST = 366 * _DAY

Effect = Literal["works", "stop", "failed"]
"""works: the registry accepts the login. stop: further requests are useless or harmful: a rejected login gets
locked, a rate limit gets longer. failed: it may be temporary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialOutcome:
    """The result of one trial."""

    finding: Finding
    effect: Effect = "works"
    paused: bool = False
    """Whether the registry limits the rate, for all logins."""


def judge_probe(
    registry: str, probe: Probe, now: dt.datetime, settings: RegistrySettings = NO_SETTINGS
) -> Finding:
    """The finding about a registry that was reached: scheme, certificate, proxy, settings, clock."""
    words, advice = "https, certificate not verified (insecure: true)", []
    if probe.scheme == "http":
        words = f"http, nothing is encrypted ({'insecure: true' if probe.insecure else 'this machine'})"
    elif probe.expires is not None:
        words = f"https, certificate valid until {probe.expires:%Y-%m-%d}"
        if probe.expires - now < _SOON:
            left = format_count((probe.expires - now).days, "day")
            advice.append(f"renew the certificate: it expires in {left}")
    if probe.proxy:
        words += f", through the proxy {probe.proxy}"
    if in_force := settings.describe():
        words += f", {in_force}"
    if abs(probe.ahead) > _SKEW:
        way = "ahead of" if probe.ahead > 0 else "behind"
        words += f"; this machine's clock is {format_duration(abs(probe.ahead))} {way} the registry's"
        advice.append("set the clock (NTP): registries refuse tokens and signed URLs if clocks differ")
    state: Literal["ok", "warning"] = "warning" if advice else "ok"
    return Finding(state=state, what="registry", place=registry, words=words, advice="; ".join(advice))


def judge_silence(
    registry: str, fault: Fault, untried: tuple[str, ...], credentials: tuple[Credential, ...]
) -> Finding:
    """The finding about an unreachable registry; `credentials`: those of its untried repositories."""
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
    client: Client,
    target: CheckTarget,
    credential: Credential | None,
    *,
    catalogue: Catalogue | None = None,
    patience: float,
) -> TrialOutcome:
    """Pull or push, as the target needs; a failure is part of the result.

    Args:
        client: the registry's client for that side.
        target: what to try.
        credential: the one that will be used; None: it cannot be read, and the trial reports why.
        catalogue: of the registry, for targets that are namespaces.
        patience: seconds that a run waits for a registry that accepts no request.
    """
    outcome = _attempt(client, target, credential, catalogue=catalogue, patience=patience)
    found = outcome.finding
    if target.after and (found.state == "warning" or found.status == HTTPStatus.NOT_FOUND):
        words = f"not there yet: it comes after {target.after}"
        outcome = replace(outcome, finding=replace(found, state="ok", words=words, advice=""))
    return replace(outcome, finding=outcome.finding.of_mirror()) if target.is_mirror else outcome


def _attempt(
    client: Client,
    target: CheckTarget,
    credential: Credential | None,
    *,
    catalogue: Catalogue | None,
    patience: float,
) -> TrialOutcome:
    verb = _verb(target)
    who = describe(credential, target.repository.registry) if credential else "with a login"
    found = Finding(
        state="ok",
        what="mirror" if target.is_mirror else "source" if target.side == "source" else "destination",
        place=str(target.repository),
        words=f"{verb} {who}",
        credential=credential,
    )
    try:
        if target.is_namespace and target.side == "destination":
            found = _visit(client, target, found)
        elif target.is_namespace and catalogue is not None:
            found = _list(catalogue, target, found)
        elif target.side == "source":
            found = _pull(client, target, found)
        else:
            found = _push(client, target, found)
    except ThrottledError as error:
        return TrialOutcome(finding=_pause(found, error, patience), effect="stop", paused=True)
    except RegistryError as error:
        fault = error.fault
        without = f"{verb} without a login, because the registry requested none,"
        words = f"{without if error.unasked else found.words} failed: {_answer(fault)}"
        advice = _advice(fault)
        found = replace(
            found, state="failed", words=words, advice=advice, status=fault.status, code=fault.code
        )
        effect: Effect = "stop" if error.rejected else "failed" if fault.retryable else "works"
        return TrialOutcome(finding=found, effect=effect)
    return TrialOutcome(finding=found)


def _verb(target: CheckTarget) -> str:
    if target.side == "destination":
        return "read" if target.is_namespace else "push"
    return "list repositories" if target.is_namespace else "list and pull" if target.lists else "pull"


def _list(catalogue: Catalogue, target: CheckTarget, found: Finding) -> Finding:
    """The first page shows whether the credential suffices."""
    page = catalogue.repositories(target.repository.path)
    if not (page.paths or page.more):
        return _warn(found, "it has none", "a run copies nothing from it")
    return replace(found, words=f"{found.words}, by the catalogue {catalogue.kind}")


def _visit(client: Client, target: CheckTarget, found: Finding) -> Finding:
    """Read below a pattern's destination, whose repositories are unknown; a token for pushing may create one.

    Registries also answer 401 and 403 for a repository that does not exist, so those are no failure.
    """
    area = target.repository
    repository = Repository(area.registry, f"{area.path}/{_SAMPLE}".lstrip("/"))
    try:
        client.head_manifest(Reference(repository, _SAMPLE))
    except RegistryError as error:
        if error.rejected or error.fault.status not in _NO_RIGHT:
            raise
        return _warn(found, f"the registry answers {_answer(error.fault)}", _advice(error.fault))
    return replace(found, words=f"{found.words}; pushing is not tried: the listing names the repositories")


def _pull(client: Client, target: CheckTarget, found: Finding) -> Finding:
    repository = target.repository
    name = target.name
    if target.lists:
        tags = client.tags(repository, page="", count=1).tags
        listed = next((tag for tag in tags if is_tag(tag)), "")
        name = name or listed
        if not listed:
            return _warn(found, "it has no tags", "a run copies nothing from it")
    if client.head_manifest(Reference(repository, name), sure=True) is None:
        if target.is_mirror:
            return replace(found, words=f"{found.words}; it does not have {name} yet")
        return _missing(client, repository, name, found)
    return found


def _missing(client: Client, repository: Repository, name: str, found: Finding) -> Finding:
    """Tell a missing tag from a missing repository, which raises: HEAD answers 404 for both."""
    client.tags(repository, page="", count=1)
    kind = "digest" if ":" in name else "tag"
    advice = f"correct the {kind} in the rule or remove it: its image will fail"
    return _warn(found, f"{kind} {name} does not exist", advice)


def _push(client: Client, target: CheckTarget, found: Finding) -> Finding:
    client.head_manifest(Reference(target.repository, target.name))
    upload = client.begin_upload(target.repository, _NOTHING)
    if upload is not None and not upload.cancel():
        words = f"{found.words}; the test upload cannot be cancelled; the registry will remove it later"
        return replace(found, words=words)
    return found


def _warn(found: Finding, words: str, advice: str) -> Finding:
    return replace(found, state="warning", words=f"{found.words}, but {words}", advice=advice)


def _pause(found: Finding, error: ThrottledError, patience: float) -> Finding:
    """The finding about a rate limit, which a run waits for unless it lasts longer than its patience."""
    wait = min(error.asked or error.delay, _LONGEST)
    now = dt.datetime.now().astimezone()
    until = (now + dt.timedelta(seconds=wait)).strftime("%H:%M:%S" if wait < _DAY else "%Y-%m-%d %H:%M:%S")
    hint = f" ({error.fault.hint})" if error.fault.hint else ""
    asks = f"next try at {until}" if error.asked else "it does not state for how long"
    patient = wait <= patience
    return replace(
        found,
        state="warning" if patient else "failed",
        words=f"{found.words} incomplete: rate limited: {_answer(error.fault)}{hint}; {asks}",
        advice=f"check again after {until}" + (", or start: a run waits for it" if patient else ""),
        status=error.fault.status,
        code=error.fault.code,
    )


def _answer(fault: Fault) -> str:
    """`403 DENIED: push is not allowed`, marked if it is the answer of the token server."""
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
