from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import pytest
import requests
import urllib3.exceptions

from pipeline.errors import LackingError, ThrottledError
from pipeline.model.reference import Repository
from pipeline.registry.faults import Purpose, error_for, fault_of
from pipeline.registry.responses import Complaint
from pipeline.registry.verdicts import Refusal

if TYPE_CHECKING:
    from pipeline.registry.verdicts import Kind


def purpose(kind: Kind = "read", *, registry: str = "quay.io", origin: str = "key x") -> Purpose:
    """Something to do."""
    return Purpose(operation="do it", kind=kind, repository=Repository(registry, "a/b"), origin=origin)


def refusal(status: int, code: str = "", words: str = "", **headers: str) -> Refusal:
    """An answer."""
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
    def test_table(self, kind: Kind, status: int, code: str, retryable: bool) -> None:  # noqa: FBT001 - a column
        """Status and code say whether trying again can help."""
        assert retryable is error_for(purpose(kind), refusal(status, code)).fault.retryable

    def test_presigned(self) -> None:
        """A presigned URL that ran out is worth another question to the registry."""
        answer = Refusal(status=403, complaint=Complaint(words="Expired"), host="storage.example")
        error = error_for(purpose(), answer)

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
    def test_shapes(self, answer: Refusal) -> None:
        """Every shape of "slow down" is a pause, not a failure."""
        error = error_for(purpose(), answer)

        assert isinstance(error, ThrottledError)
        assert error.fault.retryable

    @pytest.mark.parametrize(
        ("header", "least", "most"), [("30", 30, 37.5), ("0", 1, 1.25), ("-3", 1, 1.25), ("86400", 900, 900)]
    )
    def test_bounds(self, header: str, least: float, most: float) -> None:
        """A pause is what was asked for, at least a second and at most 15 minutes."""
        error = error_for(purpose(), refusal(429, Retry_After=header))

        assert isinstance(error, ThrottledError)
        assert least <= error.delay <= most

    def test_pull_limit(self) -> None:
        """Docker Hub's limit over hours gives a long pause and names what remains."""
        words = "You have reached your pull rate limit"
        answer = refusal(
            429, "TOOMANYREQUESTS", words, ratelimit_limit="100;w=21600", ratelimit_remaining="0;w=21600"
        )
        error = error_for(purpose(), answer)

        assert isinstance(error, ThrottledError)
        assert error.delay == 900
        assert "remaining 0;w=21600" in error.fault.hint

    def test_plain_unavailable(self) -> None:
        """A 503 that names no time is an ordinary failure."""
        assert not isinstance(error_for(purpose(), refusal(503)), ThrottledError)


class TestLacking:
    def test_store(self) -> None:
        """A manifest that names what is not there is a matter of its own."""
        digest = f"sha256:{'1' * 64}"
        complaint = Complaint(code="MANIFEST_BLOB_UNKNOWN", words="blob unknown", digests=(digest,))
        error = error_for(purpose("store"), Refusal(status=400, complaint=complaint))

        assert isinstance(error, LackingError)
        assert error.digests == (digest,)

    def test_read(self) -> None:
        """A blob that is not there when read is an ordinary fault."""
        assert not isinstance(error_for(purpose(), refusal(404, "BLOB_UNKNOWN")), LackingError)


class TestHints:
    @pytest.mark.parametrize(
        ("kind", "registry", "status", "hint"),
        [
            ("begin", "123456789012.dkr.ecr.eu-west-1.amazonaws.com", 404, "aws ecr create-repository"),
            ("begin", "europe-docker.pkg.dev", 404, "Artifact Registry repository"),
            ("store", "harbor.example", 404, "its project"),
            ("send", "harbor.example", 413, "client_max_body_size"),
            ("read", "quay.io", 403, "the credentials (key x) may not read there"),
            ("token", "quay.io", 401, "check username and password (key x)"),
        ],
    )
    def test_table(self, kind: Kind, registry: str, status: int, hint: str) -> None:
        """The hint names what a person can do at that registry."""
        assert hint in error_for(purpose(kind, registry=registry), refusal(status)).fault.hint

    def test_anonymous(self) -> None:
        """Who has no credentials is told so."""
        error = error_for(purpose(origin="none"), refusal(401))

        assert "no credentials are configured for quay.io" in error.fault.hint


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
    def test_table(self, error: Exception, code: str, retryable: bool) -> None:  # noqa: FBT001 - a column
        """What the HTTP stack raises becomes a fault with a word of ours, whatever it is wrapped in."""
        fault = fault_of(purpose(), error)

        assert (code, retryable) == (fault.code, fault.retryable)

    def test_ring(self) -> None:
        """Exceptions that name each other in a ring do not hold us."""
        one, two = OSError("one"), OSError("two")
        one.__context__, two.__context__ = two, one

        assert fault_of(purpose(), one).code == "CONNECTION_LOST"
