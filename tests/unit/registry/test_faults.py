from __future__ import annotations

import socket
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import requests
import urllib3.exceptions

from pipeline.errors import LackingError, RegistryError, ThrottledError
from pipeline.model.reference import Repository
from pipeline.registry.error_policy import Refusal
from pipeline.registry.faults import error_for, fault_of
from pipeline.registry.request_info import RequestInfo
from pipeline.registry.responses import Complaint

if TYPE_CHECKING:
    from pipeline.registry.error_policy import RequestKind
    from pipeline.registry.request_info import Sent

LOG_IN = "add them to the auth file, or docker login quay.io"
ADD = "add them there"
CORRECT = "correct them, or log in again"
OR_MISSING = ", or the repository does not exist"


def info(
    kind: RequestKind = "read", *, registry: str = "quay.io", origin: str = "key x", sent: Sent = "token"
) -> RequestInfo:
    """Any operation."""
    return RequestInfo(
        operation="do it", kind=kind, repository=Repository(registry, "a/b"), origin=origin, sent=sent
    )


def refusal(status: int, code: str = "", words: str = "", **headers: str) -> Refusal:
    """A response."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Refusal(status=status, complaint=Complaint(code=code, words=words), headers=names)


class TestRetryable:
    @pytest.mark.parametrize(
        ("kind", "status", "code", "retryable"),
        [
            ("read", 400, "", False),
            ("read", 403, "", False),
            ("read", 404, "MANIFEST_UNKNOWN", False),
            ("read", 409, "", True),
            ("read", 500, "UNKNOWN", True),
            ("read", 520, "", True),
            ("read", 501, "", False),
            ("begin", 404, "NAME_UNKNOWN", False),
            ("send", 404, "BLOB_UPLOAD_UNKNOWN", True),
            ("send", 400, "DIGEST_INVALID", True),
            ("send", 400, "NAME_INVALID", False),
            ("send", 401, "", True),
            ("send", 413, "", False),
            ("send", 507, "", False),
            ("store", 400, "MANIFEST_INVALID", False),
            ("store", 504, "", True),
            ("token", 401, "", False),
            ("token", 502, "", True),
        ],
    )
    def test_by_status_and_code(self, kind: RequestKind, status: int, code: str, retryable: bool) -> None:  # noqa: FBT001 - a column
        """Status and code decide whether a retry can help."""
        assert retryable is error_for(info(kind), refusal(status, code)).fault.retryable

    def test_expired_presigned_url_is_retryable(self) -> None:
        """After an expired presigned URL the registry is asked again."""
        answer = Refusal(status=403, complaint=Complaint(words="Expired"), host="storage.example")
        error = error_for(info(), answer)

        assert error.fault.retryable
        assert "storage.example: Expired" in str(error)


class TestThrottled:
    @pytest.mark.parametrize(
        "answer",
        [
            refusal(429),
            refusal(503, Retry_After="3"),
            refusal(400, "TOOMANYREQUESTS", "Rate exceeded"),
            refusal(400, "", "ThrottlingException: Rate exceeded"),
            refusal(403, "DENIED", "API rate limit reached"),
        ],
    )
    def test_every_form_of_rate_limit_is_a_pause(self, answer: Refusal) -> None:
        """Every form of "slow down" is a pause, not a failure."""
        error = error_for(info(), answer)

        assert isinstance(error, ThrottledError)
        assert error.fault.retryable

    @pytest.mark.parametrize(
        ("header", "least", "most"), [("30", 30, 37.5), ("0", 1, 1.25), ("-3", 1, 1.25), ("86400", 900, 900)]
    )
    def test_delay_is_bounded(self, header: str, least: float, most: float) -> None:
        """The delay is limited to 1 s to 15 min; the requested one is kept."""
        error = error_for(info(), refusal(429, Retry_After=header))

        assert isinstance(error, ThrottledError)
        assert least <= error.delay <= most
        assert error.asked == max(0, int(header))

    def test_docker_hub_pull_limit_is_a_long_pause(self) -> None:
        """Docker Hub's limit over hours gives a long pause and names what remains."""
        words = "You have reached your pull rate limit"
        answer = refusal(
            429, "TOOMANYREQUESTS", words, RateLimit_Limit="100;w=21600", RateLimit_Remaining="0;w=21600"
        )
        error = error_for(info(), answer)

        assert isinstance(error, ThrottledError)
        assert error.delay == 900
        assert error.fault.hint == "0 of 100 pulls in 6h are left"

    @pytest.mark.parametrize(
        ("headers", "hint"),
        [
            ({"RateLimit_Remaining": "7"}, "7 pulls are left; docker login quay.io raises the limit"),
            (
                {"RateLimit_Remaining": "0;w=5400", "RateLimit_Limit": "10;w=5400"},
                "0 of 10 pulls in 1.5h are left; docker login quay.io raises the limit",
            ),
            ({"RateLimit_Remaining": "many"}, ""),
        ],
    )
    def test_pulls_left_by_login(self, headers: dict[str, str], hint: str) -> None:
        """A logged-in user is not told to log in, and unreadable parts are omitted."""
        error = error_for(info(origin="none", sent="nothing"), refusal(429, "", "", **headers))

        assert error.fault.hint == hint

    def test_only_rate_limits_show_pulls_left(self) -> None:
        """Docker Hub states the remaining pulls in every answer; other failures do not show them."""
        error = error_for(info(), refusal(403, "DENIED", RateLimit_Remaining="76;w=21600"))

        assert "may not read there" in error.fault.hint

    def test_rate_limit_with_status_403(self) -> None:
        """A rate limit with status 403 is not taken for a missing right."""
        assert error_for(info(), refusal(403, "DENIED", "API rate limit exceeded")).fault.hint == ""

    def test_plain_503_is_an_ordinary_failure(self) -> None:
        """A 503 without Retry-After is an ordinary failure."""
        assert not isinstance(error_for(info(), refusal(503)), ThrottledError)


class TestLacking:
    def test_manifest_with_missing_content(self) -> None:
        """A manifest that references missing content is an error of its own kind."""
        assert isinstance(error_for(info("store"), refusal(400, "MANIFEST_BLOB_UNKNOWN")), LackingError)

    def test_missing_blob_is_an_ordinary_fault(self) -> None:
        """A missing blob is an ordinary fault."""
        assert not isinstance(error_for(info(), refusal(404, "BLOB_UNKNOWN")), LackingError)


UNASKED = (
    f"the registry did not ask for it{OR_MISSING}: check the name, and whether a proxy or firewall answered"
)


class TestHints:
    @pytest.mark.parametrize(
        ("media_type", "hint"),
        [
            ("application/vnd.docker.distribution.manifest.v2+json", "accepts only OCI media types"),
            ("application/vnd.docker.distribution.manifest.list.v2+json", "accepts only OCI media types"),
            (
                "application/vnd.oci.artifact.manifest.v1+json",
                "not accept manifests of the type application/vnd.oci.art",
            ),
        ],
    )
    def test_rejected_manifest_or_rejected_type(self, media_type: str, hint: str) -> None:
        """A registry that rejects this manifest is distinguished from one that rejects docker's types."""
        storing = replace(info("store"), media_type=media_type)

        assert hint in error_for(storing, refusal(415)).fault.hint

    @pytest.mark.parametrize("status", [413, 429, 502])
    def test_limit_in_a_gateways_web_page(self, status: int) -> None:
        """A limit in a proxy's web page is a limit, not a sign of a wrong address."""
        page = Refusal(status=status, complaint=Complaint(words="nginx", html=True))

        assert error_for(info("send"), page).fault.code == ""

    @pytest.mark.parametrize(
        ("kind", "registry", "status", "hint"),
        [
            ("begin", "123456789012.dkr.ecr.eu-west-1.amazonaws.com", 404, "aws ecr create-repository"),
            ("begin", "europe-docker.pkg.dev", 404, "Artifact Registry repository"),
            ("store", "harbor.example", 404, "its project"),
            ("send", "harbor.example", 413, "client_max_body_size"),
            ("read", "quay.io", 403, "the credentials (key x) may not read there"),
        ],
    )
    def test_hint_for_each_registry(self, kind: RequestKind, registry: str, status: int, hint: str) -> None:
        """The hint names what the user can do at that registry."""
        assert hint in error_for(info(kind, registry=registry), refusal(status)).fault.hint

    @pytest.mark.parametrize(
        ("kind", "sent", "origin", "status", "hint"),
        [
            ("read", "nothing", "none", 401, f"no credentials for quay.io: {LOG_IN};{OR_MISSING[1:]}"),
            ("token", "nothing", "none", 401, f"no credentials for quay.io: {LOG_IN}"),
            ("begin", "nothing", "key x", 403, f"key x has no username and password: {ADD};{OR_MISSING[1:]}"),
            (
                "read",
                "login",
                "key x",
                401,
                f"quay.io rejects the username or password from key x: {CORRECT}",
            ),
            (
                "token",
                "login",
                "helper",
                401,
                f"quay.io rejects the username or password from helper: {CORRECT}",
            ),
            ("store", "login", "$ENV", 403, f"the credentials ($ENV) may not write there{OR_MISSING}"),
            ("token", "login", "key x", 403, "the credentials (key x) get no token"),
            ("read", "token", "key x", 401, f"the credentials (key x) may not read there{OR_MISSING}"),
            ("read", "unasked", "key x", 403, f"the login (key x) was not sent because {UNASKED}"),
            ("store", "unasked", "key x", 401, f"the login (key x) was not sent because {UNASKED}"),
        ],
    )
    def test_password_right_and_login_are_distinguished(
        self, kind: RequestKind, sent: Sent, origin: str, status: int, hint: str
    ) -> None:
        """A rejected password, a missing right and a missing login are distinguished and name the login."""
        assert hint == error_for(info(kind, origin=origin, sent=sent), refusal(status)).fault.hint

    def test_only_a_refused_login_is_rejected(self) -> None:
        """Only a refused login is a rejected credential, not a missing right."""
        answers: tuple[tuple[RequestKind, Sent, int], ...] = (
            ("read", "login", 401),
            ("token", "login", 401),
            ("read", "login", 403),
            ("read", "token", 401),
            ("read", "nothing", 401),
        )
        errors = [error_for(info(kind, sent=sent), refusal(status)) for kind, sent, status in answers]
        rejected = [isinstance(error, RegistryError) and error.rejected for error in errors]

        assert rejected == [True, True, False, False, False]

    def test_full_quota_is_not_a_missing_right(self) -> None:
        """A full quota is not a missing right."""
        error = error_for(info("send"), refusal(403, "DENIED", "adding 9 B would exceed the quota"))

        assert "raise the quota there" in error.fault.hint

    def test_storage_refusal_blames_no_credential(self) -> None:
        """A refusal by storage, which gets no credentials, does not blame any."""
        answer = Refusal(status=403, complaint=Complaint(words="Expired"), host="storage.example")

        assert error_for(info(), answer).fault.hint == ""


class TestExceptions:
    @pytest.mark.parametrize(
        ("error", "code", "retryable"),
        [
            (
                requests.ConnectionError(
                    urllib3.exceptions.ProtocolError("x", ConnectionResetError(104, "reset"))
                ),
                "CONNECTION_LOST",
                True,
            ),
            (requests.ConnectionError(socket.gaierror(-2, "Name or service not known")), "UNREACHABLE", True),
            (
                requests.ConnectionError(ConnectionRefusedError(111, "Connection refused")),
                "UNREACHABLE",
                True,
            ),
            (requests.ReadTimeout(TimeoutError("timed out")), "TIMEOUT", True),
            (urllib3.exceptions.ProtocolError("x", OSError(24, "Too many open files")), "OPEN_FILES", True),
            (requests.exceptions.SSLError(ssl.SSLEOFError(8, "EOF occurred")), "CONNECTION_LOST", True),
            (requests.exceptions.SSLError(ssl.SSLError(1, "WRONG_VERSION_NUMBER")), "CERTIFICATE", False),
            (urllib3.exceptions.IncompleteRead(1, 2), "CONNECTION_LOST", True),
        ],
    )
    def test_http_exceptions_become_faults(self, error: Exception, code: str, retryable: bool) -> None:  # noqa: FBT001 - a column
        """Exceptions of the HTTP stack become faults with our own codes, however they are wrapped."""
        fault = fault_of(info(), error)

        assert (code, retryable) == (fault.code, fault.retryable)

    def test_circular_exceptions_do_not_loop(self) -> None:
        """Exceptions that refer to each other in a circle do not cause a loop."""
        one, two = OSError("one"), OSError("two")
        one.__context__, two.__context__ = two, one

        assert fault_of(info(), one).code == "CONNECTION_LOST"
