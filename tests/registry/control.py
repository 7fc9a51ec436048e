"""The registry's verbs over HTTP, on its own port: `POST /_control/VERB` with the arguments as a JSON
object.

Bytes travel as {"base64": ...}. These requests are not logged, and have no faults or authentication.
"""

from __future__ import annotations

import base64
import dataclasses
import http.client
import json
import ssl
from typing import TYPE_CHECKING, Any, Protocol

from tests.registry.faults import Fault, fault_from_json, fault_to_json
from tests.registry.log import Entry
from tests.registry.wire import Response, json_response

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.registry.content import Content
    from tests.registry.registry import Registry

PREFIX = "/_control/"
_VERBS = frozenset({
    "add_blob", "add_large_blob", "add_manifest", "add_tags", "blob", "blobs", "bytes_received", "bytes_sent",
    "clear_faults", "count", "create", "elsewhere", "errors", "expire_tokens", "fault", "forget_blob",
    "manifest", "manifests", "release", "repositories", "requests", "reset", "set", "tags", "wait_for",
})  # fmt: skip


def answer_control(registry: Registry, path: str, content: bytes) -> Response:
    """Run a verb for another process: 200 with {"result": ...}, 400 with {"error": ...}."""
    verb = path.removeprefix(PREFIX)
    try:
        if verb not in _VERBS:
            raise LookupError(f"no verb {verb!r}; there are {', '.join(sorted(_VERBS))}")
        arguments = json.loads(content or b"{}", object_hook=_decode)
        found = getattr(registry, verb)
        result = found(**arguments) if callable(found) else found
        return json_response({"result": _encode(result)})
    except (LookupError, TypeError, ValueError, TimeoutError) as error:
        return json_response({"error": f"{type(error).__name__}: {error}"}, status=400)


def _encode(value: Any) -> Any:
    match value:
        case bytes():
            return {"base64": base64.b64encode(value).decode()}
        case Fault():
            return {"fault": fault_to_json(value)}
        case Entry():
            return {"entry": dataclasses.asdict(value)}
        case list() | tuple():
            return [_encode(each) for each in value]
        case _:
            return value


def _decode(plain: dict[str, Any]) -> Any:
    match plain:
        case {"base64": str(text)}:
            return base64.b64decode(text)
        case {"fault": {"action": _} as fault}:
            return fault_from_json(fault)
        case {"entry": dict(entry)}:
            return Entry(**entry)
        case _:
            return plain


class Remote:
    """A registry in another process; its methods are described in Registry."""

    def __init__(self, address: str, *, scheme: str = "http") -> None:
        """Talk to the registry at host:port."""
        self.address = address
        self.url = f"{scheme}://{address}"

    def call(self, verb: str, **arguments: Any) -> Any:
        """Run a verb in the registry.

        Raises:
            RuntimeError: the registry refused; with its message.
        """
        connection = (
            http.client.HTTPSConnection(self.address, timeout=60, context=_unverified())
            if self.url.startswith("https")
            else http.client.HTTPConnection(self.address, timeout=60)
        )
        try:
            content = json.dumps({name: _encode(value) for name, value in arguments.items()})
            connection.request("POST", PREFIX + verb, body=content)
            answer = json.loads(connection.getresponse().read(), object_hook=_decode)
        finally:
            connection.close()
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def set(self, **changes: Any) -> None:
        """See Registry."""
        self.call("set", **changes)

    def fault(self, fault: Fault) -> None:
        """See Registry."""
        self.call("fault", fault=fault)

    def clear_faults(self) -> None:
        """See Registry."""
        self.call("clear_faults")

    def release(self) -> None:
        """See Registry."""
        self.call("release")

    def expire_tokens(self) -> None:
        """See Registry."""
        self.call("expire_tokens")

    def reset(self) -> None:
        """See Registry."""
        self.call("reset")

    def create(self, repository: str) -> None:
        """See Registry."""
        self.call("create", repository=repository)

    def add_blob(self, repository: str, content: bytes) -> str:
        """See Registry."""
        return str(self.call("add_blob", repository=repository, content=content))

    def add_large_blob(self, repository: str, size: int, *, seed: bytes = b"large") -> str:
        """See Registry."""
        return str(self.call("add_large_blob", repository=repository, size=size, seed=seed))

    def add_manifest(
        self, repository: str, content: bytes, media_type: str, tags: Iterable[str] = (), *, digest: str = ""
    ) -> str:
        """See Registry."""
        given = {"content": content, "media_type": media_type, "tags": list(tags), "digest": digest}
        return str(self.call("add_manifest", repository=repository, **given))

    def add(self, repository: str, content: Content, *tags: str) -> str:
        """See Registry."""
        return fill(self, repository, content, *tags)

    def add_tags(self, repository: str, count: int, digest: str, *, prefix: str = "v") -> None:
        """See Registry."""
        self.call("add_tags", repository=repository, count=count, digest=digest, prefix=prefix)

    def forget_blob(self, repository: str, digest: str) -> None:
        """See Registry."""
        self.call("forget_blob", repository=repository, digest=digest)

    def repositories(self) -> list[str]:
        """See Registry."""
        return list(self.call("repositories"))

    def tags(self, repository: str) -> dict[str, str]:
        """See Registry."""
        return dict(self.call("tags", repository=repository))

    def manifest(self, repository: str, reference: str) -> bytes | None:
        """See Registry."""
        found: bytes | None = self.call("manifest", repository=repository, reference=reference)
        return found

    def manifests(self, repository: str) -> list[str]:
        """See Registry."""
        return list(self.call("manifests", repository=repository))

    def blob(self, repository: str, digest: str) -> bytes | None:
        """See Registry."""
        found: bytes | None = self.call("blob", repository=repository, digest=digest)
        return found

    def blobs(self, repository: str) -> list[str]:
        """See Registry."""
        return list(self.call("blobs", repository=repository))

    def requests(
        self, *, method: str = "", path: str = "", status: int | None = None, elsewhere: bool | None = None
    ) -> list[Entry]:
        """See Registry."""
        return list(self.call("requests", method=method, path=path, status=status, elsewhere=elsewhere))

    def wait_for(
        self,
        count: int = 1,
        *,
        method: str = "",
        path: str = "",
        status: int | None = None,
        seconds: float = 30.0,
    ) -> list[Entry]:
        """See Registry."""
        given = {"method": method, "path": path, "status": status, "seconds": seconds}
        return list(self.call("wait_for", count=count, **given))

    def count(self, *, method: str = "", status: int | None = None) -> int:
        """See Registry."""
        return int(self.call("count", method=method, status=status))

    def errors(self) -> list[str]:
        """See Registry."""
        return list(self.call("errors"))

    @property
    def elsewhere(self) -> str:
        """See Registry."""
        return str(self.call("elsewhere"))

    @property
    def bytes_received(self) -> int:
        """See Registry."""
        return int(self.call("bytes_received"))

    @property
    def bytes_sent(self) -> int:
        """See Registry."""
        return int(self.call("bytes_sent"))


class Holder(Protocol):
    """A registry that content can be added to: Registry and Remote."""

    def add_blob(self, repository: str, content: bytes) -> str:
        """Add a blob."""

    def add_manifest(
        self, repository: str, content: bytes, media_type: str, tags: Iterable[str] = (), *, digest: str = ""
    ) -> str:
        """Add a manifest."""


def fill(holder: Holder, repository: str, content: Content, *tags: str) -> str:
    """Add a whole tree with tags for its top; returns the digest of the top."""
    for each in content.walk():
        for blob in each.blobs:
            holder.add_blob(repository, blob)
        names = tags if each is content else ()
        holder.add_manifest(repository, each.manifest, each.media_type, names, digest=each.digest)
    return content.digest


def _unverified() -> ssl.SSLContext:
    """Loopback with a certificate made for the test."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
