"""The /v2/ API: which function answers a request."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from tests.registry import blobs, catalogues, manifests, referrers
from tests.registry.wire import Refusal, Response, json_response

if TYPE_CHECKING:
    from tests.registry.access import Access
    from tests.registry.log import Entry
    from tests.registry.options import Options
    from tests.registry.store import Store
    from tests.registry.wire import Body

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = rf"({_COMPONENT}(?:/{_COMPONENT})*)"
_ROUTE = re.compile(
    rf"/v2/{_NAME}/(?:(manifests|blobs)/([^/]+)|(blobs/uploads)/([^/]*)|(tags/list)|(referrers)/([^/]+))"
)
_STORAGE = re.compile(rf"/storage/{_NAME}/([^/]+)")


@dataclass(slots=True, kw_only=True)
class Request:
    """One request that is being handled."""

    entry: Entry
    body: Body
    options: Options
    store: Store
    access: Access
    scheme: str
    address: str
    elsewhere: str
    """host:port of the second host."""

    def parameter(self, name: str) -> str:
        """The first value of a query parameter, or empty."""
        return next((value for key, value in parse_qsl(self.entry.query) if key == name), "")

    def admit(self, repository: str = "", *, scope: str = "") -> None:
        """Allow a request for a listing, or refuse it.

        Raises:
            Refusal: the account may not list.
        """
        if self.options.catalogue_denied:
            raise Refusal(401, "UNAUTHORIZED", "authentication required")
        self.access.check(
            self.entry, self.options, repository=repository, origin="", realm=self.realm, scope=scope
        )

    @property
    def realm(self) -> str:
        """URL of the token endpoint."""
        return f"{self.scheme}://{self.elsewhere if self.options.token_elsewhere else self.address}/token"

    def refuse_writes(self, name: str) -> None:
        """Refuse writes that the options forbid.

        Raises:
            Refusal: read-only, or the repository was not created.
        """
        if self.options.read_only:
            raise Refusal(405, "DENIED", "the registry is read-only")
        project = name.partition("/")[0]
        if self.options.projects_first and project not in self.store.projects:
            raise Refusal(404, "NOT_FOUND", f"project {project} not found")
        if self.options.create_first and self.store.get(name) is None:
            message = f"The repository with name '{name}' does not exist in the registry"
            raise Refusal(404, "NAME_UNKNOWN", message)


def answer(call: Request) -> Response:
    """Perform the request; a refusal becomes its response."""
    try:
        return _compress(call, _route(call))
    except Refusal as refusal:
        return refusal.response


def _route(call: Request) -> Response:
    path = call.entry.path
    if path == "/token":
        return call.access.token(call.entry, call.body.content, call.options)
    if call.entry.elsewhere:
        return _route_elsewhere(call)
    if not call.access.admits(call.options.rate):
        refusal = Refusal(429, "TOOMANYREQUESTS", "rate exceeded")
        refusal.response.headers["Retry-After"] = "1"
        raise refusal
    if path == "/v2":
        return Response(status=301, headers={"Location": "/v2/"})
    listed = catalogues.route(call)
    if listed is not None:
        return listed
    match = _ROUTE.fullmatch(path)
    unknown = match[7] and call.options.referrers == "no" if match else path != "/v2/"
    if unknown:
        return _no_page()
    origin = call.parameter("from") if call.entry.method == "POST" else ""
    name = match[1] if match else ""
    call.access.check(call.entry, call.options, repository=name, origin=origin, realm=call.realm)
    if match is None:
        response = json_response({})
        response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
        return response
    return _perform(call, match)


def _perform(call: Request, match: re.Match[str]) -> Response:
    name, kind, reference, uploads, session, _, listing, subject = match.groups()
    reading = call.entry.method in ("GET", "HEAD")
    match uploads or kind or listing or "tags", call.entry.method:
        case "manifests", "PUT":
            return manifests.write(call, name, reference)
        case "manifests", "DELETE":
            return manifests.delete(call, name, reference)
        case "manifests", _ if reading:
            return manifests.read(call, name, reference)
        case "blobs", _ if reading:
            return blobs.read(call, name, reference)
        case "blobs/uploads", "POST" if not session:
            return blobs.begin(call, name)
        case "blobs/uploads", _ if session:
            return blobs.session(call, name, session)
        case "tags", "GET":
            return manifests.list_tags(call, name)
        case "referrers", "GET":
            return referrers.list_referrers(call, name, subject)
    raise Refusal(405, "UNSUPPORTED", "the operation is unsupported")


def _route_elsewhere(call: Request) -> Response:
    """The second host: presigned storage, and upload sessions without Authorization."""
    storage = _STORAGE.fullmatch(call.entry.path)
    if storage:
        return blobs.read_storage(call, storage[1], storage[2])
    match = _ROUTE.fullmatch(call.entry.path)
    if match is None or match[4] is None:
        return _no_page()
    if "authorization" in call.entry.headers:
        return Response(status=400, body=b"Only one auth mechanism allowed")
    return blobs.session(call, match[1], match[5])


def _no_page() -> Response:
    return Response(status=404, headers={"Content-Type": "text/plain"}, body=b"404 page not found\n")


def _compress(call: Request, response: Response) -> Response:
    accepted = call.entry.headers.get("accept-encoding", "")
    if not call.options.gzip or "gzip" not in accepted or response.status != 200:
        return response
    plain = b"".join(response.stream) if response.stream is not None else response.body
    headers = {**response.headers, "Content-Encoding": "gzip"}
    return Response(status=200, headers=headers, body=gzip.compress(plain, 1, mtime=0))
