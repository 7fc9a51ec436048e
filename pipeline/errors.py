"""The one tree of errors, and the fault: an error as plain data.

    SyncError                 its class says the exit code
    |-- UsageError            flags, environment                        exit 2
    |-- FileError             a file that the user wrote: path, line    exit 2
    |-- RuleError             one rule; that rule fails, others go on   exit 1
    |-- ManifestError         bytes that are no manifest; becomes a Fault
    |   `-- DigestMismatchError   not the bytes that were asked for; another try may bring them
    |-- MachineError          disk full, records in use or unwritable   exit 3
    |   `-- LoginError            a credential helper program gives no login; becomes a Fault
    `-- RegistryError         what one operation met; carries a Fault
        |-- ThrottledError    the registry asks for a pause (429, 503 with Retry-After)
        `-- LackingError      a manifest names what the registry does not know

Errors never cross a process as exception objects (an exception with two arguments makes the reader's
unpickling raise): workers answer with the Fault.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Side = Literal["source", "destination", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What went wrong in one operation, for a person who reads it at night."""

    operation: str
    """What was tried, as a verb phrase: "read the manifest", "upload the blob sha256:..."."""
    words: str
    """The registry's own words, or the operating system's; one line, no secrets, at most 500 characters."""
    side: Side = ""
    registry: str = ""
    repository: str = ""
    """Path of the repository within the registry."""
    status: int | None = None
    """HTTP status; None where no answer came."""
    code: str = ""
    """The OCI error code (MANIFEST_UNKNOWN), or a word of ours: UNREACHABLE, CERTIFICATE, TIMEOUT,
    CONNECTION_LOST, DIGEST_MISMATCH, DIGEST_CHANGED (not the one required), SIZE_MISMATCH, NOT_A_REGISTRY,
    TOO_LARGE, TAG_CONFLICT, TAG_IMMUTABLE, TAG_OVERWRITTEN, NOT_JOINED, WORKER_DIED, CREDENTIALS, OPEN_FILES,
    INTERNAL."""
    retryable: bool = False
    """Whether the same request may succeed later without anybody doing anything."""
    hint: str = ""
    """What the reader can do next; empty where nothing useful is known."""

    def __str__(self) -> str:
        """One line: side, operation, place, status, code, words, hint."""
        place = f"{self.registry}/{self.repository}" if self.repository else self.registry
        status = " ".join(str(part) for part in (self.status, self.code) if part)
        head = f"{self.side}: " if self.side else ""
        at = f" at {place}" if place else ""
        answer = ": ".join(part for part in (status, self.words) if part)
        hint = f" ({self.hint})" if self.hint else ""
        return f"{head}cannot {self.operation}{at}: {answer}{hint}"


class SyncError(Exception):
    """Any error that this program raises on purpose."""

    exit_code = 1


class UsageError(SyncError):
    """Wrong flags or environment."""

    exit_code = 2


class FileError(SyncError):
    """A file that the user wrote cannot be used.

    Args:
        path: the file as the user named it.
        message: what is wrong, without the place.
        line: 1-based; 0 where the whole file is meant.
        column: 1-based; 0 where the whole line is meant.
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
    """One rule is wrong; the place is the rule's.

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
    """Bytes that cannot be taken for a manifest, or a tree of manifests that is refused."""


class DigestMismatchError(ManifestError):
    """A manifest's content is not what its digest names: altered on the way, or at the registry.

    Args:
        expected: the digest that was asked for.
        actual: the digest of what came.
    """

    def __init__(self, expected: str, actual: str) -> None:
        """See the class."""
        super().__init__(f"the content has the digest {actual}, expected {expected}")
        self.expected, self.actual = expected, actual


class MachineError(SyncError):
    """This machine stands in the way: disk full, records in use or unwritable, no processes."""

    exit_code = 3


class LoginError(MachineError):
    """A credential helper program gives no login.

    Args:
        message: what is wrong, never with the secret.
        hint: what to do; empty where nothing useful is known.
        passes: whether it may give one later without anybody doing anything.
    """

    def __init__(self, message: str, *, hint: str = "", passes: bool) -> None:
        """See the class."""
        super().__init__(message)
        self.message, self.hint, self.passes = message, hint, passes

    def __str__(self) -> str:
        """`message (hint)`."""
        return self.message + (f" ({self.hint})" if self.hint else "")


class RegistryError(SyncError):
    """What one operation at a registry met."""

    def __init__(self, fault: Fault) -> None:
        """Carry `fault`."""
        super().__init__(fault)
        self.fault = fault
        self.refused = False
        """Whether a mount had been asked for and not given before."""
        self.expired = False
        """Whether the credential has run out: who made it may make another."""
        self.rejected = False
        """Whether the registry refuses the credential itself, and not what is done with it."""
        self.unasked = False
        """Whether there is a credential that the registry never asked for."""

    def on(self, side: Side) -> RegistryError:
        """The same error, with the side of the copy on which it happened; a side that is set stays."""
        if not self.fault.side:
            self.fault = replace(self.fault, side=side)
        return self

    def __str__(self) -> str:
        """The fault's line."""
        return str(self.fault)


class ThrottledError(RegistryError):
    """The registry asks for a pause; never slept through in a worker.

    Args:
        fault: the fault, with `retryable` set.
        delay: seconds until the registry may be asked again; 1 to 900, jitter included.
        asked: seconds that the registry itself asked for, however many; 0: it did not say.
    """

    def __init__(self, fault: Fault, *, delay: float, asked: float = 0.0) -> None:
        """See the class."""
        super().__init__(fault)
        self.delay, self.asked = delay, asked


class LackingError(RegistryError):
    """The registry refuses a manifest since it does not know what the manifest names (MANIFEST_BLOB_UNKNOWN).

    Args:
        fault: the fault.
        digests: what the registry says it lacks; may be empty.
    """

    def __init__(self, fault: Fault, *, digests: tuple[str, ...]) -> None:
        """See the class."""
        super().__init__(fault)
        self.digests = digests
