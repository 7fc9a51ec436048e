"""The interfaces with which vendors list repositories, and tags with their digests.

Each answer has the documented fields that a client may use:
v2: distribution docs/spec/api.md, "Listing Repositories". harbor: goharbor/harbor api/v2.0/swagger.yaml.
hub: docs.docker.com/reference/api/hub/latest. quay: docs.quay.io/api/swagger. gitlab: docs.gitlab.com,
"Container registry API", and gitlab-org/container-registry docs/spec/gitlab/api.md.
ghcr: docs.github.com/rest/packages/packages. gar: google/go-containerregistry pkg/v1/google/list.go.
acr: learn.microsoft.com/rest/api/containerregistry, "Tag - Get List".
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from tests.registry.wire import Refusal, Response, json_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.registry.api import Request

_PAGES = {"harbor": 100, "hub": 100, "quay": 100, "gitlab": 100, "ghcr": 100, "v2": 1000, "acr": 1000}
"""The largest pages."""
_HUB_LIMIT = 1000
"""Entries that Docker Hub shows without a login."""
_TOKEN = "hub-token-of-tests"


@dataclass(frozen=True, slots=True)
class Tagged:
    """One tag."""

    name: str
    digest: str
    pushed: float

    @property
    def iso(self) -> str:
        """The time of its push, in the format of most vendors."""
        return datetime.fromtimestamp(self.pushed, UTC).isoformat().replace("+00:00", "Z")


def route(call: Request) -> Response | None:
    """Answer a request to the registry's catalogue; None if it is another request."""
    kind, path = call.options.catalogue, call.entry.path
    if kind in ("v2", "acr") and path == "/v2/_catalog":
        return _v2(call)
    if kind == "acr" and (found := re.fullmatch(r"/acr/v1/(.+)/_tags", path)):
        return _acr(call, found[1])
    if kind == "gar" and (found := re.fullmatch(r"/v2/(.+)/tags/list", path)):
        return _gar(call, found[1])
    if kind == "gitlab" and (found := re.fullmatch(r"/gitlab/v1/repositories/(.+)/tags/list/", path)):
        return _gitlab_tags(call, found[1])
    vendors = {"harbor": _harbor, "hub": _hub, "quay": _quay, "gitlab": _gitlab, "ghcr": _ghcr}
    is_api = path.startswith(("/api/", "/v2/auth/token", "/v2/namespaces/", "/orgs/", "/users/"))
    return vendors[kind](call) if kind in vendors and is_api else None


def _paths(call: Request, below: str = "") -> list[str]:
    """The repositories with content, in order; `extra` names are only listed."""
    with call.store.lock:
        names = {name for name, held in call.store.repositories.items() if held.manifests or held.tags}
    extra = [name for name in call.options.catalogue_extra.split(" ") if name]
    return sorted(name for name in (*names, *extra) if not below or f"{name}/".startswith(f"{below}/"))


def _tags(call: Request, name: str) -> list[Tagged]:
    held = call.store.get(name)
    if held is None:
        raise Refusal(404, "NAME_UNKNOWN", "repository name not known to registry")
    with call.store.lock:
        return [
            Tagged(tag, held.resolve(tag) or "", held.times.get(tag, 1_700_000_000.0)) for tag in held.names()
        ]


def _number(call: Request, name: str = "page") -> int:
    return int(call.parameter(name) or "1")


def _slice(call: Request, entries: Sequence[Any], size: str) -> tuple[list[Any], bool]:
    """A numbered page, and whether another one follows."""
    most = call.options.catalogue_page or _PAGES[call.options.catalogue]
    count = min(int(call.parameter(size) or "10"), most)
    begin = (_number(call) - 1) * count
    return list(entries[begin : begin + count]), len(entries) > begin + count


def _linked(call: Request, body: Any, *, more: bool) -> Response:
    """A page with a link to the next numbered page."""
    response = json_response(body)
    if more:
        target = re.sub(r"([?&]page=)\d+", "", call.entry.target)
        joint = "&" if "?" in target else "?"
        response.headers["Link"] = f'<{target}{joint}page={_number(call) + 1}>; rel="next"'
    return response


def _after_last(call: Request, entries: Sequence[Any], names: Sequence[str]) -> tuple[list[Any], str]:
    """A page that starts after `last`, and its link."""
    most = call.options.catalogue_page or _PAGES["v2"]
    count, last = min(int(call.parameter("n") or "100"), most), call.parameter("last")
    left = [entry for name, entry in zip(names, entries, strict=True) if name > last]
    if len(left) <= count:
        return left, ""
    at = names[list(names).index(last) + count if last else count - 1]
    return left[:count], f'<{quote(call.entry.path)}?last={quote(at)}&n={count}>; rel="next"'


def _listed(body: dict[str, Any] | list[Any], link: str) -> Response:
    response = json_response(body)
    if link:
        response.headers["Link"] = link
    return response


def _v2(call: Request) -> Response:
    call.admit(scope="registry:catalog:*")
    paths = _paths(call)
    page, link = _after_last(call, paths, paths)
    return _listed({"repositories": page}, link)


def _acr(call: Request, name: str) -> Response:
    call.admit(name)
    tags = _tags(call, name)
    page, link = _after_last(call, tags, [each.name for each in tags])
    listed = [
        {"name": tag.name, "digest": tag.digest, "createdTime": tag.iso, "lastUpdateTime": tag.iso}
        for tag in page
    ]
    return _listed({"registry": call.address, "imageName": name, "tags": listed}, link)


def _gar(call: Request, path: str) -> Response:
    call.admit(path)
    below = {each.removeprefix(f"{path}/").partition("/")[0] for each in _paths(call, path) if each != path}
    held = call.store.get(path)
    if held is None and not below:
        raise Refusal(404, "NAME_UNKNOWN", "not found")
    tags = _tags(call, path) if held else []
    manifests: dict[str, Any] = {}
    for tag in tags:
        entry = manifests.setdefault(
            tag.digest, {"tag": [], "timeUploadedMs": str(int(tag.pushed * 1000)), "mediaType": "x"}
        )
        entry["tag"].append(tag.name)
    body = {"child": sorted(below), "manifest": manifests, "name": path, "tags": [tag.name for tag in tags]}
    return json_response(body)


def _gitlab_tags(call: Request, name: str) -> Response:
    call.admit(name)
    tags = _tags(call, name)
    page, link = _after_last(call, tags, [each.name for each in tags])
    return _listed([{"name": tag.name, "digest": tag.digest, "created_at": tag.iso} for tag in page], link)


def _need(call: Request, header: str) -> None:
    """Refuse a request without the login that the API needs."""
    given = call.entry.headers.get("authorization", "")
    if call.options.auth != "none" and given != header and (given or not call.options.anonymous):
        raise Refusal(401, "UNAUTHORIZED", "authentication required")
    if call.options.catalogue_denied:
        raise Refusal(403, "FORBIDDEN", "the account may not list")


def _basic(call: Request) -> str:
    return f"Basic {base64.b64encode(f'{call.options.username}:{call.options.password}'.encode()).decode()}"


def _harbor(call: Request) -> Response:
    path = call.entry.path.removeprefix("/api/v2.0")
    if path == "/systeminfo":
        return json_response({"auth_mode": "db_auth", "self_registration": False})
    _need(call, _basic(call))
    if call.entry.method == "POST" and path == "/projects":
        return _harbor_project(call)
    if (found := re.fullmatch(r"/projects/([^/]+)", path)) is not None:
        if found[1] not in call.store.projects:
            raise Refusal(404, "NOT_FOUND", f"project {found[1]} not found")
        return json_response({"name": found[1]})
    # entry.path is unquoted once, but Harbor's names are quoted twice.
    found = re.fullmatch(r"/projects/([^/]+)/repositories(?:/([^/]+)/artifacts)?", path)
    if found is None and path == "/repositories":
        entries = [{"name": name, "artifact_count": 1} for name in _paths(call)]
    elif found is None:
        raise Refusal(404, "NOT_FOUND", "not found")
    elif found[2]:
        entries = _harbor_artifacts(call, f"{found[1]}/{unquote(found[2])}")
    else:
        entries = [{"name": name, "artifact_count": 1} for name in _paths(call, found[1])]
        if not entries and found[1] not in call.store.projects:
            raise Refusal(403, "FORBIDDEN", "forbidden")
    count, loops = len(entries) + call.options.catalogue_hides, False
    if found is not None and found[2] and call.options.catalogue_lies:
        entries, count, loops = _falsified(call, entries)
    page, more = _slice(call, entries, "page_size")
    response = _linked(call, page, more=more or loops)
    response.headers["X-Total-Count"] = str(count)
    return response


def _falsified(call: Request, entries: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int, bool]:
    """A listing that is broken or wrong, its count, and whether it never ends; the same for the same content.

    It never tells a digest that its tag had before: with the records, that is believed.
    """
    random = Random(f"{call.options.catalogue_lies} {call.entry.target} {entries}")
    made_up = [f"sha256:{random.getrandbits(256):064x}" for _ in entries]
    match random.choice(("right", "right", "status", "short", "count", "loop", "digests", "twice", "shape")):
        case "status":
            raise Refusal(random.choice((401, 403, 404, 429, 500, 503)), "DENIED", "no listing today")
        case "short":
            return random.sample(entries, random.randint(0, len(entries))), len(entries), False
        case "count":
            return entries, random.choice((0, 1, 10**6)), random.random() < 0.5
        case "loop":
            return entries, len(entries), True
        case "digests":
            for entry, other in zip(entries, made_up, strict=True):
                wrong = (other, entry["digest"].upper(), f"sha512:{'0' * 128}", "", None, 7)
                entry["digest"] = random.choice((entry["digest"], *wrong))
        case "twice":
            doubled = [{**each, "digest": wrong} for each, wrong in zip(entries, made_up, strict=True)]
            return random.sample([*entries, *doubled], 2 * len(entries)), len(entries), False
        case "shape":
            entries.append({"digest": made_up, "tags": random.choice((5, "v1", [None], {"name": "v1"}))})
    return entries, len(entries), False


def _harbor_artifacts(call: Request, name: str) -> list[dict[str, Any]]:
    by_digest: dict[str, list[Tagged]] = {}
    for tag in _tags(call, name):
        by_digest.setdefault(tag.digest, []).append(tag)
    if call.parameter("q") != "tags=*":
        by_digest |= {f"sha256:{number:064x}": [] for number in range(100)}
    return [
        {
            "digest": digest,
            "push_time": tags[0].iso if tags else None,
            "tags": [{"name": tag.name, "push_time": tag.iso} for tag in tags] or None,
        }
        for digest, tags in by_digest.items()
    ]


def _harbor_project(call: Request) -> Response:
    asked = json.loads(call.body.content)
    name = asked["project_name"]
    if name in call.store.projects:
        raise Refusal(409, "CONFLICT", f"The project named {name} already exists")
    call.store.projects[name] = asked
    return Response(status=201, headers={"Location": f"/api/v2.0/projects/{name}"})


def _hub(call: Request) -> Response:
    if call.entry.path == "/v2/auth/token":
        asked = json.loads(call.body.content)
        wanted = {"identifier": call.options.username, "secret": call.options.password}
        if asked != wanted:
            raise Refusal(401, "UNAUTHORIZED", "incorrect authentication credentials")
        return json_response({"access_token": _TOKEN})
    _need(call, f"Bearer {_TOKEN}")
    known = bool(call.entry.headers.get("authorization"))
    if not known and (_number(call) - 1) * int(call.parameter("page_size") or "10") >= _HUB_LIMIT:
        raise Refusal(403, "FORBIDDEN", "pagination is limited for anonymous users")
    found = re.fullmatch(r"/v2/namespaces/([^/]+)/repositories(?:/(.+)/tags)?", call.entry.path)
    if found is None:
        raise Refusal(404, "NOT_FOUND", "object not found")
    if found[2]:
        entries = [
            {"name": tag.name, "digest": tag.digest, "tag_last_pushed": tag.iso, "last_updated": tag.iso}
            for tag in _tags(call, f"{found[1]}/{found[2]}")
        ]
    else:
        names = [name.partition("/")[2] for name in _paths(call, found[1])]
        entries = [{"name": name, "namespace": found[1]} for name in names]
    page, more = _slice(call, entries, "page_size")
    following = f"https://hub.docker.com{call.entry.path}?page={_number(call) + 1}" if more else None
    count = len(entries) + call.options.catalogue_hides
    return json_response({"count": count, "next": following, "previous": None, "results": page})


def _quay(call: Request) -> Response:
    _need(call, f"Bearer {call.options.password}")
    if found := re.fullmatch(r"/api/v1/repository/(.+)/tag/", call.entry.path):
        tags = _tags(call, found[1])
        page, more = _slice(call, tags, "limit")
        listed = [
            {"name": tag.name, "manifest_digest": tag.digest, "start_ts": int(tag.pushed)} for tag in page
        ]
        return json_response({"tags": listed, "page": _number(call), "has_additional": more})
    owner, size = call.parameter("namespace"), call.options.catalogue_page or _PAGES["quay"]
    names = [name.removeprefix(f"{owner}/") for name in _paths(call, owner)]
    begin = int(call.parameter("next_page").removeprefix("token-") or "0")
    listed = [{"namespace": owner, "name": n, "kind": "image"} for n in names[begin : begin + size]]
    token = {"next_page": f"token-{begin + size}"} if len(names) > begin + size else {}
    return json_response({"repositories": listed, **token})


def _gitlab(call: Request) -> Response:
    _need(call, f"Bearer {call.options.password}")
    found = re.fullmatch(r"/api/v4/(groups|projects)/(.+)/registry/repositories", call.entry.path)
    paths = _paths(call, found[2]) if found else []
    if found is None or not paths or (found[1] == "groups" and found[2] in paths):
        raise Refusal(404, "NOT_FOUND", "404 Group Not Found")
    page, more = _slice(call, [{"path": path, "name": ""} for path in paths], "per_page")
    response = _linked(call, page, more=more)
    response.headers["X-Total"] = str(len(paths))
    response.headers["X-Next-Page"] = str(_number(call) + 1) if more else ""
    return response


def _ghcr(call: Request) -> Response:
    _need(call, f"Bearer {call.options.password}")
    _, kind, owner, rest = call.entry.path.split("/", 3)
    if kind == "orgs" and owner.startswith("user"):
        raise Refusal(404, "NOT_FOUND", "Not Found")
    if found := re.fullmatch(r"packages/container/(.+)/versions", rest):
        by_digest: dict[str, list[Tagged]] = {}
        for tag in _tags(call, f"{owner}/{found[1]}"):
            by_digest.setdefault(tag.digest, []).append(tag)
        entries: list[dict[str, Any]] = [
            {
                "name": digest,
                "updated_at": tags[0].iso,
                "metadata": {"container": {"tags": [tag.name for tag in tags]}},
            }
            for digest, tags in by_digest.items()
        ]
    else:
        entries = [{"name": name.partition("/")[2]} for name in _paths(call, owner)]
    page, more = _slice(call, entries, "per_page")
    return _linked(call, page, more=more)
