"""All exceptions, and Fault: an error as plain data.

    SyncError                 each class has an exit code
    |-- UsageError            flags, environment                        exit 2
    |-- FileError             a file that the user wrote: path, line    exit 2
    |-- RuleError             one rule; that rule fails, others continue   exit 1
    |-- ManifestError         not a valid manifest; becomes a Fault
    |   `-- DigestMismatchError   not the requested content; another attempt may get it
    |-- MachineError          disk full, records in use or unwritable   exit 3
    |   `-- LoginError            a credential helper program failed; becomes a Fault
    `-- OperationError        one operation at a registry did not succeed; carries a Fault
        |-- RegistryError     it failed
        |-- ThrottledError    the registry limits the rate (429, 503 with Retry-After)
        `-- LackingError      a manifest references content that the registry lacks

Exception objects are never sent between processes (unpickling one with two arguments raises): workers send
the Fault.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from pipeline.dataclass import dataclass

Side = Literal["source", "destination", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why one operation failed."""

    operation: str
    """A verb phrase: "read the manifest", "upload the blob sha256:..."."""
    words: str
    """The registry's or the operating system's message; one line, no secrets, at most 500 characters."""
    side: Side = ""
    registry: str = ""
    repository: str = ""
    """Path of the repository within the registry."""
    host: str = ""
    """Host, and port unless it is the default, that the registry named and that failed in its place:
    storage, a token server, an upload host. Such a fault says nothing about the registry.
    """
    status: int | None = None
    """HTTP status; None: no response."""
    code: str = ""
    """The OCI error code (MANIFEST_UNKNOWN), or our own: UNREACHABLE, CERTIFICATE, TIMEOUT,
    CONNECTION_LOST, DIGEST_MISMATCH, DIGEST_CHANGED (not the one required), SIZE_MISMATCH, NOT_A_REGISTRY,
    TOO_LARGE, TAG_CONFLICT, TAG_IMMUTABLE, TAG_OVERWRITTEN, TAG_INVALID, TOO_FEW_TAGS, NOT_JOINED,
    PULL_RESERVE, WORKER_DIED, CREDENTIALS, OPEN_FILES, INTERNAL."""
    retryable: bool = False
    """Whether the same request may succeed later without intervention."""
    hint: str = ""
    """What the reader can do; empty if nothing useful is known."""

    @property
    def is_unreached(self) -> bool:
        """Whether there was no connection, so that no request was sent."""
        return self.code in {"UNREACHABLE", "CERTIFICATE"}

    @property
    def is_server_error(self) -> bool:
        """Whether the answer was 5xx."""
        return self.status is not None and self.status >= HTTPStatus.INTERNAL_SERVER_ERROR

    @property
    def may_be_damage(self) -> bool:
        """Whether what the registry stores may be damaged: distribution 2.8 answers 500 for a tag or a blob
        that it was writing when it was killed, until it is pushed again.
        """
        return self.status == HTTPStatus.INTERNAL_SERVER_ERROR and not self.host

    @property
    def line(self) -> str:
        """One line: side, operation, place, status, code, words."""
        place = f"{self.registry}/{self.repository}" if self.repository else self.registry
        status = " ".join(str(part) for part in (self.status, self.code) if part)
        head = f"{self.side}: " if self.side else ""
        at = f" at {place}" if place else ""
        answer = ": ".join(part for part in (status, self.words) if part)
        return f"{head}cannot {self.operation}{at}: {answer}"

    def __str__(self) -> str:
        """The line, with the hint."""
        return f"{self.line} ({self.hint})" if self.hint else self.line


class SyncError(Exception):
    """Base class of this program's exceptions."""

    exit_code = 1


class UsageError(SyncError):
    """Invalid flags or environment."""

    exit_code = 2


class FileError(SyncError):
    """A file that the user wrote is invalid or cannot be used.

    Args:
        path: the file as the user named it.
        message: what is wrong, without the location.
        line: 1-based; 0: the whole file.
        column: 1-based; 0: the whole line.
        hint: what to write instead.
    """

    exit_code = 2

    def __init__(self, path: str, message: str, *, line: int = 0, column: int = 0, hint: str = "") -> None:
        """See the class."""
        super().__init__(message)
        self.path, self.message, self.line, self.column, self.hint = path, message, line, column, hint

    def __str__(self) -> str:
        """`path:line:column: message (hint)`."""
        place = ":".join(str(part) for part in (self.path, self.line, self.column) if part)
        return f"{place}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class RuleError(SyncError):
    """One rule is invalid.

    Args:
        message: what is wrong.
        hint: what to write instead.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        """See the class."""
        super().__init__(message)
        self.message, self.hint = message, hint

    def __str__(self) -> str:
        """`message (hint)`."""
        return self.message + (f" ({self.hint})" if self.hint else "")


class ManifestError(SyncError):
    """An invalid manifest, or a tree of manifests that exceeds the limits."""


class DigestMismatchError(ManifestError):
    """A manifest's content does not match its digest: changed in transit or at the registry.

    Args:
        expected: the requested digest.
        actual: the digest of the content.
    """

    def __init__(self, expected: str, actual: str) -> None:
        """See the class."""
        super().__init__(f"the content has the digest {actual}, expected {expected}")
        self.expected, self.actual = expected, actual


class MachineError(SyncError):
    """A problem of this machine: disk full, records in use, an output file not writable, no processes."""

    exit_code = 3


class LoginError(MachineError):
    """A credential helper program failed.

    Args:
        message: what is wrong, without the secret.
        hint: what to do; empty if nothing useful is known.
        transient: whether it may succeed later without intervention.
    """

    def __init__(self, message: str, *, hint: str = "", transient: bool) -> None:
        """See the class."""
        super().__init__(message)
        self.message, self.hint, self.transient = message, hint, transient

    def __str__(self) -> str:
        """`message (hint)`."""
        return self.message + (f" ({self.hint})" if self.hint else "")


class OperationError(SyncError):
    """One operation at a registry did not succeed."""

    def __init__(self, fault: Fault) -> None:
        """Carry `fault`."""
        super().__init__(fault)
        self.fault = fault

    def __str__(self) -> str:
        """The fault's line."""
        return str(self.fault)


class RegistryError(OperationError):
    """One operation at a registry failed."""

    def __init__(self, fault: Fault) -> None:
        """Carry `fault`."""
        super().__init__(fault)
        self.refused = False
        """Whether the registry refused a mount before."""
        self.expired = False
        """Whether the credential expired: its helper may give a new one."""
        self.rejected = False
        """Whether the registry rejects the credential itself, not only what it was used for."""
        self.unasked = False
        """Whether there is a credential that the registry never asked for."""
        self.plain = False
        """Whether the peer's answer to the start of TLS shows that it does not speak TLS."""


class ThrottledError(OperationError):
    """The registry limits the rate; a worker never sleeps through the delay.

    Args:
        fault: the fault, with `retryable` set.
        delay: seconds until the next request to the registry; 1 to 900, with jitter.
        asked: seconds that the registry itself asked for, without a limit; 0: not stated.
    """

    def __init__(self, fault: Fault, *, delay: float, asked: float = 0.0) -> None:
        """See the class."""
        super().__init__(fault)
        self.delay, self.asked = delay, asked


class LackingError(OperationError):
    """The registry refuses a manifest that references unknown content (MANIFEST_BLOB_UNKNOWN)."""
