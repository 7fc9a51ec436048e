"""The scripted registry: content, log and faults, and the verbs with which a test fills and watches it.

The same verbs work over HTTP for a registry in another process (control.py).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Self

from tests.registry.access import Access
from tests.registry.content import digest_of
from tests.registry.control import fill
from tests.registry.faults import Fault, Faults
from tests.registry.log import Entry, Log
from tests.registry.options import Options
from tests.registry.server import Server
from tests.registry.store import Blob, Store, Stored, TagRange, make_large

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable
    from types import TracebackType

    from tests.registry.content import Content


class Registry:
    """One registry, in threads of this process. Start it with `with`, or `start` and `stop`."""

    def __init__(
        self,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        second_host: str = "127.0.0.2",
        tls: ssl.SSLContext | None = None,
        **options: Any,
    ) -> None:
        """Bind, but do not serve yet.

        Args:
            port: 0: any.
            host: address to listen on.
            second_host: address of the other host that redirects, Locations and realms may point to; its
                port is always any.
            tls: serve HTTPS with this context on both.
            options: fields of Options.
        """
        self.options = Options(**options)
        self.store = Store()
        self.access = Access()
        self.faults = Faults()
        self.log = Log(keep=not self.options.count_only)
        self.server = Server(self, addresses=[(host, port), (second_host, 0)], tls=tls)
        self.address, self.elsewhere = self.server.addresses
        self.url = f"{self.server.scheme}://{self.address}"

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Serve."""
        self.server.start()

    def stop(self) -> None:
        """Close everything and wait for the threads."""
        self.server.stop()

    def errors(self) -> list[str]:
        """Tracebacks of the registry's own failures; a test should see none."""
        return self.server.errors

    # What a test does to it.

    def set(self, **changes: Any) -> None:
        """Change options for requests that begin later."""
        self.options = dataclasses.replace(self.options, **changes)
        self.log.keep = not self.options.count_only

    def fault(self, fault: Fault) -> None:
        """Add a fault."""
        self.faults.add(fault)

    def clear_faults(self) -> None:
        """Remove all faults."""
        self.faults.clear()

    def release(self) -> None:
        """End the present stalls and pauses."""
        self.server.release()

    def suspend(self) -> None:
        """Break every connection and refuse new ones, until `resume`."""
        self.server.suspend()

    def resume(self) -> None:
        """Serve again, at the same address."""
        self.server.resume()

    def expire_tokens(self) -> None:
        """Expire every token issued so far."""
        self.access.expire()

    def reset(self) -> None:
        """Clear log and faults, not the content."""
        self.release()
        self.faults.clear()
        self.log.clear()

    def create(self, repository: str) -> None:
        """Create an empty repository (for the option create_first)."""
        self.store.create(repository)

    def add_blob(self, repository: str, content: bytes) -> str:
        """Add a blob; returns its digest."""
        digest = digest_of(content)
        self.store.create(repository).blobs[digest] = Blob(content, len(content))
        return digest

    def add_large_blob(self, repository: str, size: int, *, seed: bytes = b"large") -> str:
        """Add a blob of `size` bytes, of which only one 1 MiB block is in memory; returns its digest."""
        digest, blob = make_large(size, seed)
        self.store.create(repository).blobs[digest] = blob
        return digest

    def add_manifest(
        self, repository: str, content: bytes, media_type: str, tags: Iterable[str] = (), *, digest: str = ""
    ) -> str:
        """Add a manifest, unchecked, under its digest (or the given one) and the tags."""
        return self.store.put(repository, Stored(content, media_type), digest=digest, tags=tags)

    def add(self, repository: str, content: Content, *tags: str) -> str:
        """Add a whole tree; the tags name its top."""
        return fill(self, repository, content, *tags)

    def add_tags(self, repository: str, count: int, digest: str, *, prefix: str = "v") -> None:
        """Add `count` tags for one digest (prefix0000000 and so on) that take no memory."""
        self.store.create(repository).ranges.append((TagRange(prefix, count), digest))

    def forget_blob(self, repository: str, digest: str) -> None:
        """Remove a blob, as garbage collection does."""
        self.store.create(repository).blobs.pop(digest, None)

    # What a test reads from it.

    def repositories(self) -> list[str]:
        """Names of all repositories with content."""
        with self.store.lock:
            return sorted(
                name
                for name, held in self.store.repositories.items()
                if held.blobs or held.manifests or held.tags
            )

    def tags(self, repository: str) -> dict[str, str]:
        """Tags that were pushed or added one by one, with their digests."""
        held = self.store.get(repository)
        return dict(held.tags) if held else {}

    def manifest(self, repository: str, reference: str) -> bytes | None:
        """The bytes of a manifest."""
        held = self.store.get(repository)
        digest = held.resolve(reference) if held else None
        return held.manifests[digest].content if held and digest else None

    def manifests(self, repository: str) -> list[str]:
        """Digests of the manifests, oldest first."""
        held = self.store.get(repository)
        return list(held.manifests) if held else []

    def blob(self, repository: str, digest: str) -> bytes | None:
        """The bytes of a blob."""
        held = self.store.get(repository)
        found = held.blobs.get(digest) if held else None
        return found.read() if found else None

    def blobs(self, repository: str) -> list[str]:
        """Digests of the blobs, oldest first."""
        held = self.store.get(repository)
        return list(held.blobs) if held else []

    def requests(
        self, *, method: str = "", path: str = "", status: int | None = None, elsewhere: bool | None = None
    ) -> list[Entry]:
        """The log's entries that match; see Log.requests."""
        return self.log.requests(method=method, path=path, status=status, elsewhere=elsewhere)

    def wait_for(
        self,
        count: int = 1,
        *,
        method: str = "",
        path: str = "",
        status: int | None = None,
        seconds: float = 30.0,
    ) -> list[Entry]:
        """Wait until so many requests match; see Log.wait_for."""
        return self.log.wait_for(count, method=method, path=path, status=status, seconds=seconds)

    def count(self, *, method: str = "", status: int | None = None) -> int:
        """Finished requests that match; they are counted even if the log keeps none."""
        return self.log.count(method=method, status=status)

    @property
    def bytes_received(self) -> int:
        """Bytes of request bodies."""
        return self.log.received

    @property
    def bytes_sent(self) -> int:
        """Bytes of response bodies."""
        return self.log.sent
