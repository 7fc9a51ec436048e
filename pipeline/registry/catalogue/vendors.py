"""Catalogues by vendors' own interfaces: Harbor, Docker Hub, Quay, GitLab, GitHub.

Sources: Harbor's swagger (api/v2.0/swagger.yaml); docs.docker.com/reference/api/hub/latest; docs.quay.io/api;
docs.gitlab.com/api/container_registry and the container registry's docs/spec/gitlab/api.md;
docs.github.com/rest/packages/packages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode

from pipeline.errors import RegistryError
from pipeline.model.catalogue import ListedTag, ListedTagPage, RepositoryPage
from pipeline.model.faults import catalogue_needs_namespace
from pipeline.registry.catalogue.own import digest_in
from pipeline.registry.catalogue.times import parse_seconds, parse_time

if TYPE_CHECKING:
    from pipeline.model.reference import Repository
    from pipeline.registry.catalogue.api import Api, ApiAnswer

_PAGE = 100
"""Entries of a page: the largest number that all of these allow."""
_LIST, _TAGS = "list the repositories", "list the tags with digests"


def _number(page: str) -> int:
    return int(page or "1")


def _quoted(text: str) -> str:
    return quote(text, safe="")


class HarborCatalogue:
    """Harbor: the repositories of a project, and artifacts with their tags."""

    needs = "a member of the project, or a robot account that may list repositories, artifacts and tags"

    def __init__(self, api: Api) -> None:
        """See the class."""
        self._api = api
        self._exists: dict[str, bool] = {}
        """By project: whether it was there when it was asked for."""

    def repositories(self, namespace: str, page: str) -> RepositoryPage:
        """See Catalogue."""
        project, number = namespace.partition("/")[0], _number(page)
        base = f"/api/v2.0/projects/{_quoted(project)}" if project else "/api/v2.0"
        path = f"{base}/repositories?page={number}&page_size={_PAGE}"
        answer = self._api.need(path, place=namespace, operation=_LIST)
        entries, total = answer.entries(), answer.count("X-Total-Count")
        return RepositoryPage(
            paths=tuple(answer.text(each, "name") for each in entries),
            more=_following(answer, number, len(entries), total),
            total=total,
        )

    def tags(self, repository: Repository, page: str) -> ListedTagPage | None:
        """See Catalogue. Untagged artifacts would fill the pages, hence `q`."""
        (project, _, name), number = repository.path.partition("/"), _number(page)
        query = urlencode({"page": number, "page_size": _PAGE, "with_tag": "true", "q": "tags=*"})
        base = f"/api/v2.0/projects/{_quoted(project)}/repositories/{_quoted(_quoted(name))}"
        path = f"{base}/artifacts?{query}"
        answer = self._api.need(path, place=repository.path, operation=_TAGS)
        entries, total = answer.entries(), answer.count("X-Total-Count")
        tags = tuple(
            ListedTag(
                answer.text(tag, "name"),
                digest_in(answer, each, "digest"),
                parse_time(answer.text(tag, "push_time") or answer.text(each, "push_time")),
            )
            for each in entries
            for tag in answer.below(each, "tags")
        )
        following = _following(answer, number, len(entries), total)
        return ListedTagPage(tags=tags, entries=len(entries), next="".join(following), total=total)

    def lacks(self, repository: Repository) -> str:
        """The project of a repository, if it does not exist; see Catalogue."""
        project = repository.path.partition("/")[0]
        if project not in self._exists:
            path, operation = f"/api/v2.0/projects/{_quoted(project)}", f"look for the project {project}"
            answer = self._api.get(path, place=repository.path, operation=operation, missing=True)
            self._exists[project] = answer is not None
        return "" if self._exists[project] else f"the project {project}"

    def create(self, repository: Repository) -> bool:
        """Create the private project of a repository; a push creates the repository itself."""
        project = repository.path.partition("/")[0]
        asked = {"project_name": project, "metadata": {"public": "false"}}
        operation = f"create the project {project}"
        return self._api.create("/api/v2.0/projects", asked, place=repository.path, operation=operation)


def _following(answer: ApiAnswer, number: int, entries: int, total: int) -> tuple[str, ...]:
    """The next page's number, if pages are numbered: by a link, else by the total count."""
    return (str(number + 1),) if entries and (answer.next or number * _PAGE < total) else ()


class HubCatalogue:
    """Docker Hub: the repositories of a namespace, and their tags."""

    needs = "docker login with a personal access token: without one the list ends after 1,000 entries"

    def __init__(self, api: Api) -> None:
        """See the class."""
        self._api = api

    def repositories(self, namespace: str, page: str) -> RepositoryPage:
        """See Catalogue."""
        owner = namespace.partition("/")[0]
        if not owner:
            raise RegistryError(catalogue_needs_namespace(self._api.registry, "a namespace"))
        answer, number = self._get(f"{_quoted(owner)}/repositories", page, namespace, _LIST)
        entries = answer.entries("results")
        return RepositoryPage(
            paths=tuple(f"{owner}/{answer.text(each, 'name')}" for each in entries),
            more=(str(number + 1),) if answer.document.get("next") else (),
            total=answer.count("count"),
        )

    def tags(self, repository: Repository, page: str) -> ListedTagPage | None:
        """See Catalogue."""
        owner, _, name = repository.path.partition("/")
        path = f"{_quoted(owner)}/repositories/{_quoted(name)}/tags"
        answer, number = self._get(path, page, repository.path, _TAGS)
        entries = answer.entries("results")
        tags = tuple(
            ListedTag(
                answer.text(each, "name"),
                digest_in(answer, each, "digest"),
                parse_time(answer.text(each, "tag_last_pushed", "last_updated")),
            )
            for each in entries
        )
        more = str(number + 1) if answer.document.get("next") else ""
        return ListedTagPage(tags=tags, entries=len(entries), next=more, total=answer.count("count"))

    def _get(self, path: str, page: str, place: str, operation: str) -> tuple[ApiAnswer, int]:
        number = _number(page)
        query = urlencode({"page": number, "page_size": _PAGE})
        answer = self._api.need(f"/v2/namespaces/{path}?{query}", place=place, operation=operation)
        return answer, number


class QuayCatalogue:
    """Quay: the repositories of a namespace, and their active tags."""

    needs = (
        "an OAuth token that may view repositories, as password of the user $oauthtoken (written "
        "$$oauthtoken in the credentials file); robots cannot list"
    )

    def __init__(self, api: Api) -> None:
        """See the class."""
        self._api = api

    def repositories(self, namespace: str, page: str) -> RepositoryPage:
        """See Catalogue. `public` adds public ones; the login's own are listed anyway."""
        owner = namespace.partition("/")[0]
        if not owner:
            raise RegistryError(catalogue_needs_namespace(self._api.registry, "an organization"))
        asked = {"namespace": owner, "public": "true"} | ({"next_page": page} if page else {})
        answer = self._api.need(f"/api/v1/repository?{urlencode(asked)}", place=namespace, operation=_LIST)
        entries = answer.entries("repositories")
        token = answer.text(answer.document, "next_page")
        return RepositoryPage(
            paths=tuple(
                f"{owner}/{answer.text(each, 'name')}"
                for each in entries
                if each.get("kind", "image") == "image"
            ),
            more=(token,) if token else (),
        )

    def tags(self, repository: Repository, page: str) -> ListedTagPage | None:
        """See Catalogue."""
        number = _number(page)
        query = urlencode({"limit": _PAGE, "page": number, "onlyActiveTags": "true"})
        path = f"/api/v1/repository/{repository.path}/tag/?{query}"
        answer = self._api.need(path, place=repository.path, operation=_TAGS)
        entries = answer.entries("tags")
        tags = tuple(
            ListedTag(
                answer.text(each, "name"),
                digest_in(answer, each, "manifest_digest"),
                parse_seconds(each.get("start_ts")) or parse_time(answer.text(each, "last_modified")),
            )
            for each in entries
        )
        more = str(number + 1) if answer.document.get("has_additional") is True else ""
        return ListedTagPage(tags=tags, entries=len(entries), next=more)


class GitlabCatalogue:
    """GitLab: repositories of a group or project by GitLab's API, tags with digests by its registry's."""

    needs = "a personal or group access token with read_api, under the key of the API's host"

    def __init__(self, api: Api, registry: Api) -> None:
        """`api`: GitLab's; `registry`: that of its registry."""
        self._api, self._registry = api, registry

    def repositories(self, namespace: str, page: str) -> RepositoryPage:
        """See Catalogue: the fixed part is a group, or else a project."""
        if not namespace:
            raise RegistryError(catalogue_needs_namespace(self._api.registry, "a group"))
        kind, _, number = page.rpartition(":")
        query = f"registry/repositories?per_page={_PAGE}&page={_number(number)}"
        for what in (kind,) if kind else ("groups", "projects"):
            path = f"/api/v4/{what}/{_quoted(namespace)}/{query}"
            last = bool(kind) or what == "projects"
            answer = self._api.get(path, place=namespace, operation=_LIST, missing=not last)
            if answer is not None:
                break
        assert answer is not None
        entries, total = answer.entries(), answer.count("X-Total")
        following = answer.headers.get("X-Next-Page") or (str(_number(number) + 1) if answer.next else "")
        return RepositoryPage(
            paths=tuple(answer.text(each, "path").lower() for each in entries),
            more=(f"{what}:{following}",) if following.isdigit() else (),
            total=total,
        )

    def tags(self, repository: Repository, page: str) -> ListedTagPage | None:
        """See Catalogue; None for a GitLab registry without a metadata database."""
        path = f"/gitlab/v1/repositories/{repository.path}/tags/list/?{page or f'n={_PAGE}'}"
        answer = self._registry.get(path, place=repository.path, operation=_TAGS, missing=not page)
        if answer is None:
            return None
        tags = tuple(
            ListedTag(
                answer.text(each, "name"),
                digest_in(answer, each, "digest"),
                parse_time(answer.text(each, "published_at", "updated_at", "created_at")),
            )
            for each in answer.entries()
        )
        return ListedTagPage(tags=tags, entries=len(tags), next=answer.next)


class GhcrCatalogue:
    """GitHub: the container packages of an organization or user, and their versions with tags."""

    needs = (
        "a classic personal access token with read:packages, which ghcr.io and api.github.com share;"
        " fine-grained tokens cannot list"
    )

    def __init__(self, api: Api) -> None:
        """See the class."""
        self._api = api
        self._kinds: dict[str, str] = {}
        """By owner: `orgs` or `users`, once it is known."""

    def repositories(self, namespace: str, page: str) -> RepositoryPage:
        """See Catalogue."""
        owner = namespace.partition("/")[0]
        if not owner:
            raise RegistryError(catalogue_needs_namespace(self._api.registry, "an organization or user"))
        query = f"packages?package_type=container&{page or f'per_page={_PAGE}'}"
        answer = self._get(owner, query, namespace, _LIST)
        return RepositoryPage(
            paths=tuple(f"{owner}/{answer.text(each, 'name')}".lower() for each in answer.entries()),
            more=(self._next(answer),) if answer.next else (),
        )

    def tags(self, repository: Repository, page: str) -> ListedTagPage | None:
        """See Catalogue. Versions without tags are children and attestations of others."""
        owner, _, name = repository.path.partition("/")
        query = f"packages/container/{_quoted(name)}/versions?{page or f'per_page={_PAGE}'}"
        answer = self._get(owner, query, repository.path, _TAGS)
        entries = answer.entries()
        tags = tuple(
            ListedTag(tag, digest_in(answer, each, "name"), parse_time(answer.text(each, "updated_at")))
            for each in entries
            for tag in answer.texts(each, "metadata", "container", "tags")
        )
        return ListedTagPage(tags=tags, entries=len(entries), next=self._next(answer))

    @staticmethod
    def _next(answer: ApiAnswer) -> str:
        return urlencode([pair for pair in parse_qsl(answer.next) if pair[0] in ("page", "per_page")])

    def _get(self, owner: str, query: str, place: str, operation: str) -> ApiAnswer:
        known = self._kinds.get(owner)
        if known is None:
            answer = self._api.get(f"/orgs/{owner}/{query}", place=place, operation=operation, missing=True)
            self._kinds[owner] = "users" if answer is None else "orgs"
            if answer is not None:
                return answer
        return self._api.need(f"/{self._kinds[owner]}/{owner}/{query}", place=place, operation=operation)
