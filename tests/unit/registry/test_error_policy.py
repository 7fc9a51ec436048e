"""The table of verdicts, checked against real answers of registries."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import LackingError, RegistryError, ThrottledError
from pipeline.model.reference import Repository
from pipeline.registry.error_policy import TABLE, Refusal, decide
from pipeline.registry.faults import error_for
from pipeline.registry.request_info import RequestInfo
from pipeline.registry.responses import parse_complaint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.registry.error_policy import RequestKind, Verdict

PAGE = "<!DOCTYPE html><html><head><title>{}</title></head></html>"
XML = "<?xml version='1.0'?><Error><Code>{}</Code><Message>{}</Message></Error>"
HTML: Mapping[str, str] = {"Content-Type": "text/html; charset=utf-8"}
BLOB = f"sha256:{'b' * 64}"


def said(code: str, message: str = "", detail: object = None) -> str:
    """The body of the OCI distribution specification."""
    return json.dumps({"errors": [{"code": code, "message": message, "detail": detail}]})


@dataclass(frozen=True)
class Seen:
    """One answer of a registry, and the expected verdict."""

    registry: str
    kind: RequestKind
    status: int
    body: str
    verdict: Verdict
    code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    hint: str = ""
    """A part of the hint."""
    host: str = ""

    def __str__(self) -> str:
        """The name of its test."""
        return f"{self.registry}-{self.kind}-{self.status}-{self.code}"


HUB, QUAY, GHCR, GITLAB = "docker.io", "quay.io", "ghcr.io", "registry.gitlab.com"
ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
GAR, ACR = "europe-docker.pkg.dev", "team.azurecr.io"
HARBOR, ARTIFACTORY, NEXUS = "harbor.example", "artifactory.example", "nexus.example"
ALIYUN, DISTRIBUTION, ANY = "registry.cn-hangzhou.aliyuncs.com", "distribution.example", "any.example"
NO_REPOSITORY = "The repository with name 'x' does not exist in the registry with id '123456789012'"
IMMUTABLE = "The image tag 'x' already exists in the 'r' repository and cannot be overwritten"

ANSWERS = (
    # Docker Hub
    Seen(HUB, "read", 401, said("UNAUTHORIZED", "authentication required"), "never", "UNAUTHORIZED"),
    Seen(HUB, "begin", 401, said("DENIED", "requested access is denied"), "never", "DENIED", hint="write"),
    Seen(
        HUB,
        "read",
        429,
        said("TOOMANYREQUESTS", "You have reached your unauthenticated pull rate limit."),
        "later",
        "TOOMANYREQUESTS",
        headers={"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "0;w=21600"},
        hint="0 of 100 pulls in 6h are left",
    ),
    Seen(HUB, "read", 429, "", "later"),
    Seen(HUB, "read", 520, PAGE.format("Web server is returning an unknown error"), "again", headers=HTML),
    Seen(HUB, "token", 401, '{"details":"incorrect username or password"}', "never", hint="key of tests"),
    # ECR
    Seen(ECR, "begin", 404, said("NAME_UNKNOWN", NO_REPOSITORY), "never", "NAME_UNKNOWN", hint="create-repo"),
    Seen(ECR, "read", 404, said("NAME_UNKNOWN", NO_REPOSITORY), "never", "NAME_UNKNOWN"),
    Seen(
        ECR,
        "read",
        403,
        said("DENIED", "Your authorization token has expired. Reauthenticate and try again."),
        "renew",
        "DENIED",
        hint="log in again",
    ),
    Seen(ECR, "store", 400, said("TAG_INVALID", IMMUTABLE), "never", "TAG_INVALID"),
    Seen(ECR, "send", 400, said("", "ThrottlingException: Rate exceeded"), "later"),
    Seen(ECR, "begin", 429, said("TOOMANYREQUESTS", "Rate exceeded"), "later", "TOOMANYREQUESTS"),
    Seen(ECR, "begin", 503, said("ThrottlingException", "Rate exceeded"), "later", "ThrottlingException"),
    Seen(ECR, "store", 404, said("LAYERS_NOT_FOUND", "layers not found"), "lacking", "LAYERS_NOT_FOUND"),
    Seen(ECR, "store", 400, said("", "LayersNotFoundException"), "lacking"),
    Seen(ECR, "send", 400, said("", "LayerPartTooSmallException"), "again"),
    Seen(ECR, "send", 403, said("DENIED", "User is not authorized"), "never", "DENIED", hint="may not write"),
    # GAR
    Seen(GAR, "begin", 404, said("NAME_UNKNOWN", 'Repository "x" not found'), "never", "NAME_UNKNOWN"),
    Seen(GAR, "begin", 403, said("DENIED", "Permission denied"), "never", "DENIED", hint="may not write"),
    Seen(GAR, "read", 429, said("RESOURCE_EXHAUSTED", "Quota exceeded"), "later", "RESOURCE_EXHAUSTED"),
    Seen(GAR, "store", 400, said("MANIFEST_BLOB_UNKNOWN", BLOB), "lacking", "MANIFEST_BLOB_UNKNOWN"),
    Seen(GAR, "store", 409, said("", "tag is immutable"), "never"),
    # ACR
    Seen(ACR, "store", 405, said("UNSUPPORTED", "The operation is unsupported."), "never", "UNSUPPORTED"),
    Seen(ACR, "send", 413, PAGE.format("413 Request Entity Too Large"), "never", "", HTML),
    Seen(ACR, "read", 429, said("TOOMANYREQUESTS"), "later", "TOOMANYREQUESTS", {"Retry-After": "3"}),
    Seen(ACR, "token", 400, '{"error":"invalid_grant"}', "never", "invalid_grant"),
    # GHCR
    Seen(GHCR, "read", 403, said("DENIED", "API rate limit exceeded"), "later", "DENIED"),
    Seen(GHCR, "begin", 403, said("DENIED", "permission_denied: write_package"), "never", "DENIED"),
    Seen(GHCR, "send", 416, "request body is too large, must be less than 4.00MiB", "again"),
    Seen(GHCR, "store", 400, said("MANIFEST_UNKNOWN", "manifest unknown"), "lacking", "MANIFEST_UNKNOWN"),
    # Quay
    Seen(QUAY, "read", 429, PAGE.format("429 Too Many Requests"), "later", "", HTML),
    Seen(QUAY, "read", 404, said("TAG_EXPIRED", "Tag v1 was deleted"), "never", "TAG_EXPIRED"),
    Seen(QUAY, "store", 409, said("TAG_IMMUTABLE", "tag is immutable"), "never", "TAG_IMMUTABLE"),
    Seen(QUAY, "store", 409, said("TAG_ALREADY_EXISTS"), "never", "TAG_ALREADY_EXISTS"),
    Seen(QUAY, "begin", 405, said("DENIED", "System is in read-only mode"), "never", "DENIED"),
    Seen(QUAY, "begin", 403, said("DENIED", "Quota has been exceeded"), "never", "DENIED"),
    Seen(
        QUAY, "send", 400, said("LAYER_TOO_LARGE", "Uploaded blob is too large"), "never", "LAYER_TOO_LARGE"
    ),
    Seen(QUAY, "send", 416, "", "again"),
    Seen(QUAY, "read", 502, PAGE.format("502 Bad Gateway"), "again", headers=HTML),
    Seen(QUAY, "token", 400, '{"error":"Unable to decode repository and actions"}', "never"),
    # Harbor
    Seen(
        HARBOR, "begin", 404, said("NOT_FOUND", "project x not found"), "never", "NOT_FOUND", hint="project"
    ),
    Seen(HARBOR, "begin", 401, "", "never", hint="does not exist"),
    Seen(HARBOR, "store", 409, said("CONFLICT", "resource changed"), "again", "CONFLICT"),
    Seen(HARBOR, "store", 412, said("PRECONDITION", "configured as immutable."), "never", "PRECONDITION"),
    Seen(HARBOR, "read", 412, said("PROJECTPOLICYVIOLATION", "blocked"), "never", "PROJECTPOLICYVIOLATION"),
    Seen(HARBOR, "send", 403, said("DENIED", "adding 9 B would exceed the quota"), "never", "DENIED"),
    Seen(HARBOR, "store", 413, said("UNKNOWN", "too large"), "never", "UNKNOWN", hint="client_max_body_size"),
    Seen(HARBOR, "read", 429, said("TOO_MANY_REQUEST"), "later", "TOO_MANY_REQUEST"),
    # GitLab
    Seen(GITLAB, "token", 403, said("DENIED", "access forbidden"), "never", "DENIED"),
    Seen(GITLAB, "token", 429, "Retry later", "later", headers={"RateLimit-Reset": "1"}),
    Seen(GITLAB, "store", 403, said("DENIED", "protected tag"), "never", "DENIED"),
    # Artifactory
    Seen(ARTIFACTORY, "store", 403, said("FORBIDDEN", "may not overwrite"), "never", "FORBIDDEN"),
    Seen(ARTIFACTORY, "read", 404, PAGE.format("Not Found"), "never", "NOT_A_REGISTRY", HTML, "web page"),
    Seen(ARTIFACTORY, "send", 500, said("UNKNOWN", "Could not acquire lock"), "again", "UNKNOWN"),
    Seen(ARTIFACTORY, "begin", 405, PAGE.format("Method Not Allowed"), "never", "NOT_A_REGISTRY", HTML),
    # Nexus
    Seen(
        NEXUS, "store", 400, said("UNKNOWN", "Repository does not allow updating assets"), "never", "UNKNOWN"
    ),
    Seen(NEXUS, "begin", 404, PAGE.format("404 - Nexus"), "never", "NOT_A_REGISTRY", HTML, "web page"),
    Seen(NEXUS, "read", 401, said("UNAUTHORIZED", "access is not authorized"), "never", "UNAUTHORIZED"),
    # Aliyun
    Seen(ALIYUN, "read", 503, "Request was denied due to user flow control", "later"),
    Seen(ALIYUN, "read", 429, "", "later"),
    Seen(ALIYUN, "begin", 401, said("UNAUTHORIZED", "namespace missing"), "never", "UNAUTHORIZED"),
    # distribution
    Seen(DISTRIBUTION, "send", 404, said("BLOB_UPLOAD_UNKNOWN"), "again", "BLOB_UPLOAD_UNKNOWN"),
    Seen(DISTRIBUTION, "send", 404, said("BLOB_UPLOAD_INVALID"), "again", "BLOB_UPLOAD_INVALID"),
    Seen(DISTRIBUTION, "send", 400, said("DIGEST_INVALID"), "again", "DIGEST_INVALID"),
    Seen(DISTRIBUTION, "send", 416, said("RANGE_INVALID"), "again", "RANGE_INVALID"),
    Seen(DISTRIBUTION, "send", 400, said("SIZE_INVALID"), "again", "SIZE_INVALID"),
    Seen(DISTRIBUTION, "send", 401, said("UNAUTHORIZED"), "again", "UNAUTHORIZED"),
    Seen(DISTRIBUTION, "read", 404, said("BLOB_UNKNOWN"), "never", "BLOB_UNKNOWN"),
    Seen(DISTRIBUTION, "read", 404, said("MANIFEST_UNKNOWN"), "never", "MANIFEST_UNKNOWN"),
    Seen(
        DISTRIBUTION,
        "store",
        400,
        said("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", BLOB),
        "lacking",
        "MANIFEST_BLOB_UNKNOWN",
    ),
    Seen(DISTRIBUTION, "store", 400, said("MANIFEST_INVALID"), "never", "MANIFEST_INVALID"),
    Seen(DISTRIBUTION, "store", 400, said("MANIFEST_UNVERIFIED"), "never", "MANIFEST_UNVERIFIED"),
    Seen(DISTRIBUTION, "begin", 400, said("NAME_INVALID"), "never", "NAME_INVALID"),
    Seen(DISTRIBUTION, "read", 503, said("UNAVAILABLE"), "again", "UNAVAILABLE"),
    Seen(DISTRIBUTION, "read", 503, "", "later", headers={"Retry-After": "5"}),
    # cue's registry in memory
    Seen(
        ANY,
        "store",
        500,
        said("UNKNOWN", "invalid manifest: blob for layers[0] not found"),
        "lacking",
        "UNKNOWN",
    ),
    Seen(
        ANY,
        "store",
        500,
        said("UNKNOWN", "invalid manifest: manifest for manifests[0] not found"),
        "lacking",
        "UNKNOWN",
    ),
    # Gateways, storage, proxies
    *(
        Seen(ANY, kind, status, "", "again")
        for kind in ("read", "begin", "send", "store")
        for status in (408, 425, 500, 504)
    ),
    *(
        Seen(ANY, "read", status, "", "never")
        for status in (400, 402, 403, 410, 411, 412, 418, 451, 501, 505)
    ),
    *(Seen(ANY, "send", status, "", "never") for status in (403, 405, 410, 411, 413, 415, 501)),
    Seen(ANY, "read", 503, PAGE.format("503 Service Temporarily Unavailable"), "later", headers=HTML),
    Seen(ANY, "send", 503, "Service Temporarily Unavailable", "later"),
    Seen(ANY, "read", 503, PAGE.format("503 Service Unavailable"), "again", headers=HTML),
    Seen(ANY, "send", 507, "", "never"),
    Seen(ANY, "read", 407, "", "never", hint="https_proxy"),
    Seen(ANY, "read", 200, PAGE.format("Sign in"), "never", "NOT_A_REGISTRY", HTML, "web page"),
    Seen(ANY, "read", 403, PAGE.format("Request blocked"), "never", "NOT_A_REGISTRY", HTML, "firewall"),
    Seen(ANY, "read", 403, XML.format("AccessDenied", "Expired"), "again", "AccessDenied", host="s3.example"),
    Seen(ANY, "read", 400, XML.format("ExpiredToken", "x"), "again", "ExpiredToken", host="s3.example"),
    Seen(ANY, "read", 503, XML.format("SlowDown", "x"), "later", "SlowDown", host="s3.example"),
    Seen(ANY, "read", 503, XML.format("ServerBusy", "x"), "later", "ServerBusy", host="blob.example"),
    Seen(ANY, "read", 404, XML.format("NoSuchKey", "x"), "never", "NoSuchKey", host="s3.example"),
    Seen(
        ANY,
        "read",
        403,
        XML.format("RequestTimeTooSkewed", "The difference is too large"),
        "again",
        "RequestTimeTooSkewed",
        headers={"Date": "Tue, 01 Jan 2019 00:00:00 GMT"},
        hint="set the clock of this machine",
        host="s3.example",
    ),
    Seen(
        ANY,
        "read",
        403,
        XML.format("RequestTimeTooSkewed", "x"),
        "again",
        "RequestTimeTooSkewed",
        hint="its operator",
        host="s3.example",
    ),
)


@pytest.mark.parametrize("seen", ANSWERS, ids=str)
def test_each_refusal_has_its_hint(seen: Seen) -> None:
    """Each registry's refusal leads to a fitting hint, with its code."""
    complaint = parse_complaint(seen.body.encode(), content_type=seen.headers.get("Content-Type", ""))
    refusal = Refusal(status=seen.status, complaint=complaint, headers=seen.headers, host=seen.host)
    info = RequestInfo(
        operation="do it", kind=seen.kind, repository=Repository(seen.registry, "a/b"), origin="key of tests"
    )
    error = error_for(info, refusal)

    assert seen.verdict == decide(seen.kind, refusal)
    assert (seen.code, seen.status) == (error.fault.code, error.fault.status)
    assert seen.hint in error.fault.hint
    assert error.fault.retryable is (seen.verdict in ("later", "lacking", "again"))
    assert isinstance(error, ThrottledError) is (seen.verdict == "later")
    assert isinstance(error, LackingError) is (seen.verdict == "lacking")
    assert (isinstance(error, RegistryError) and error.expired) is (seen.verdict == "renew")


def test_every_row_decides_some_answer() -> None:
    """Each row of the table is the first that fits one of the answers above."""
    deciding = set()
    for seen in ANSWERS:
        complaint = parse_complaint(seen.body.encode(), content_type=seen.headers.get("Content-Type", ""))
        refusal = Refusal(status=seen.status, complaint=complaint, headers=seen.headers, host=seen.host)
        deciding.add(next(number for number, row in enumerate(TABLE) if row.fits(seen.kind, refusal)))

    assert deciding == set(range(len(TABLE)))


@pytest.mark.parametrize(
    "name",
    ["X-Request-Id", "x-amzn-requestid", "x-ms-correlation-request-id", "x-github-request-id", "cf-ray"],
)
def test_error_has_the_request_id(name: str) -> None:
    """The error has the request ID that a registry's support needs."""
    complaint = parse_complaint(b"")
    info = RequestInfo(operation="do it", kind="read", repository=Repository(ANY, "a/b"))
    error = error_for(info, Refusal(status=500, complaint=complaint, headers={name: "id-of-it"}))

    assert error.fault.words == "Internal Server Error (request id-of-it)"
