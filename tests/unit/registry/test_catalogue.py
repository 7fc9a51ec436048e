"""Catalogues of all vendors against the scripted registry: requests, logins, results."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import RegistryError, ThrottledError
from pipeline.model.catalogue import CatalogueSetting, RepositoryListing
from pipeline.model.credential import Credential
from pipeline.model.reference import Repository
from pipeline.model.registry_settings import RegistrySettings
from pipeline.model.repository_pattern import below
from pipeline.registry.catalogue.times import parse_seconds, parse_time
from pipeline.registry.clients import Clients
from tests.registry.content import image, layer
from tests.registry.faults import Fault, Reply, throttle
from tests.unit.registry.asking import ANONYMOUS, QUICK

if TYPE_CHECKING:
    from pipeline.model.catalogue import CatalogueKind, ListedTag
    from pipeline.registry.catalogue.catalogue import RegistryCatalogue
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

KINDS: tuple[CatalogueKind, ...] = ("v2", "harbor", "hub", "quay", "gitlab", "ghcr", "gar", "acr")
WITH_DIGESTS = KINDS[1:]
USER = Credential(origin="auth.yaml key r", username="user", password="pass", insecure=True)
LOGINS = {"quay": replace(USER, username="$oauthtoken")}


def catalogue(
    registry: Registry, kind: CatalogueKind | None, credential: Credential = ANONYMOUS
) -> RegistryCatalogue:
    """The catalogue of that kind in a new process; None: the kind has to be detected."""
    setting = CatalogueSetting(kind=kind) if kind else None
    made = Clients(QUICK, lambda _: credential, settings_of=lambda _: RegistrySettings(catalog=setting))
    made.at(registry.address)._session._schemes[True] = "http"
    return made.catalogue(registry.address)


def fill(registry: Registry, *names: str) -> None:
    """Add two images to each repository, the first with two tags."""
    for name in names:
        first = image(layer(name))
        registry.add(name, first, "v1", "v2")
        registry.add(name, image(layer(f"{name} 2")), "w")


def listed(found: RegistryCatalogue, registry: Registry, namespace: str = "team") -> RepositoryListing:
    """The whole listing of a namespace."""
    listing = RepositoryListing(below(registry.address, namespace))
    while listing.pages:
        listing.take(found.repositories(namespace, page=listing.pages.popleft()))
    listing.end()
    return listing


def tags_of(found: RegistryCatalogue, repository: Repository) -> dict[str, ListedTag]:
    """All tags of a repository, by name."""
    tags: dict[str, ListedTag] = {}
    page = found.tags(repository)
    while page is not None:
        tags |= {tag.name: tag for tag in page.tags}
        page = found.tags(repository, page=page.next) if page.next else None
    return tags


@pytest.mark.parametrize("size", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_all_repositories_are_listed(scripted: Scripted, kind: CatalogueKind, size: int) -> None:
    """Every repository below a namespace is listed, at any depth and with pages of any size."""
    registry = scripted(catalogue=kind, catalogue_page=size)
    fill(registry, "team/a", "team/b", "team/c/d", "teams/e")

    listing = listed(catalogue(registry, kind), registry)

    assert listing._found == {"team/a", "team/b", "team/c/d"}
    assert listing.trouble == ""


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("kind", WITH_DIGESTS)
def test_tags_have_digest_and_push_time(scripted: Scripted, kind: CatalogueKind, size: int) -> None:
    """A listing with digests has each tag with its digest and the time of its push."""
    registry = scripted(catalogue=kind, catalogue_page=size)
    fill(registry, "team/c/d")
    registry.store.create("team/c/d").times |= dict.fromkeys(("v1", "v2"), 1_750_000_000.0)

    found = tags_of(catalogue(registry, kind), Repository(registry.address, "team/c/d"))

    assert {name: tag.digest for name, tag in found.items()} == registry.tags("team/c/d")
    assert [found[name].pushed for name in ("v1", "v2", "w")] == [1_750_000_000.0] * 2 + [1_700_000_000.0]


@pytest.mark.parametrize(
    ("kind", "repositories", "tags"),
    [
        ("v2", 1, None), ("harbor", 2, 2), ("hub", 2, 2), ("quay", 2, 2), ("gitlab", 2, 2), ("ghcr", 2, 1),
        ("gar", 151, 1), ("acr", 1, 1),
    ],
)  # fmt: skip
def test_number_of_requests_is_minimal(
    scripted: Scripted, kind: CatalogueKind, repositories: int, tags: int | None
) -> None:
    """150 repositories, and 150 tags, cost as few requests as the vendor's pages allow."""
    registry = scripted(catalogue=kind)
    content = [image(layer(f"{number}")) for number in range(150)]
    for number, each in enumerate(content):
        registry.add(f"team/r{number:03}", content[0], "v1")
        registry.add("other/a", each, f"v{number:03}")
    found = catalogue(registry, kind)

    listing = listed(found, registry)
    asked = registry.count()
    named = tags_of(found, Repository(registry.address, "other/a"))

    assert (len(listing._found), asked) == (150, repositories)
    assert (len(named), registry.count() - asked) == (
        (0, 0) if tags is None else (150, 2 if kind == "ghcr" else tags)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_login_has_the_required_form(scripted: Scripted, kind: CatalogueKind) -> None:
    """Each interface gets the login in the form that it requires."""
    registry = scripted(catalogue=kind, auth="token")
    fill(registry, "team/a")
    found = catalogue(registry, kind, LOGINS.get(kind, USER))

    assert listed(found, registry)._found == {"team/a"}
    assert set(tags_of(found, Repository(registry.address, "team/a"))) in (set(), {"v1", "v2", "w"})


@pytest.mark.parametrize("kind", KINDS)
def test_refused_listing_names_the_credential(scripted: Scripted, kind: CatalogueKind) -> None:
    """The error of a refused listing says which credential it needs."""
    registry = scripted(catalogue=kind, auth="token", catalogue_denied=True)

    with pytest.raises(RegistryError) as caught:
        listed(catalogue(registry, kind, LOGINS.get(kind, USER)), registry)

    assert "a listing needs" in caught.value.fault.hint
    assert caught.value.fault.operation.startswith("list the repositories")


def test_quay_robot_is_not_sent_to_the_api(scripted: Scripted) -> None:
    """Quay's API does not accept robots, so none is sent, and the fault says which credential to use."""
    registry = scripted(catalogue="quay", auth="token", anonymous=True)

    with pytest.raises(RegistryError, match="OAuth tokens only") as caught:
        listed(catalogue(registry, "quay", replace(USER, username="acme+robot")), registry)

    assert "$oauthtoken" in caught.value.fault.hint
    assert registry.requests() == []


def test_hub_anonymous_limit_is_a_failure(scripted: Scripted) -> None:
    """Docker Hub's listing that ends with 403 after 1,000 entries is a failure, not a short listing."""
    registry = scripted(catalogue="hub", auth="token", anonymous=True)
    content = image(layer("one"))
    for number in range(1001):
        registry.add(f"team/r{number:04}", content, "v1")

    with pytest.raises(RegistryError) as caught:
        listed(catalogue(registry, "hub"), registry)

    assert (caught.value.fault.status, "personal access token" in caught.value.fault.hint) == (403, True)
    assert len(listed(catalogue(registry, "hub", USER), registry)._found) == 1001


def test_hub_token_is_requested_once(scripted: Scripted) -> None:
    """Docker Hub's token is requested once for many pages, and only that request carries the password."""
    registry = scripted(catalogue="hub", auth="token", catalogue_page=1)
    fill(registry, *(f"team/{name}" for name in "abcd"))

    listed(catalogue(registry, "hub", USER), registry)

    assert len(registry.requests(method="POST", path="/v2/auth/token")) == 1


@pytest.mark.parametrize("kind", ["harbor", "hub"])
def test_listing_short_of_its_count_is_refused(scripted: Scripted, kind: CatalogueKind) -> None:
    """A listing with fewer repositories than the registry counts must not be used."""
    registry = scripted(catalogue=kind, catalogue_hides=1)
    fill(registry, "team/a")

    assert "counts 2" in listed(catalogue(registry, kind), registry).trouble


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "body", ["", "{}", "[1]", '{"errors": []}', "<html><title>Log in</title>", '"x"', '{"manifest": [1]}']
)
def test_unparsable_listing_is_not_empty(scripted: Scripted, kind: CatalogueKind, body: str) -> None:
    """An answer that is not a listing never counts as an empty one."""
    registry = scripted(catalogue=kind)
    fill(registry, "team/a")
    registry.fault(
        Fault(action=Reply(status=200, headers={"Content-Type": "application/json"}, body=body), times=10)
    )

    with pytest.raises(RegistryError):
        catalogue(registry, kind).repositories("team")


@pytest.mark.parametrize("kind", KINDS)
def test_rate_limit_is_a_pause(scripted: Scripted, kind: CatalogueKind) -> None:
    """A rate limit is a pause, as for any other request."""
    registry = scripted(catalogue=kind)
    registry.fault(throttle())

    with pytest.raises(ThrottledError):
        catalogue(registry, kind).repositories("team")


def test_harbor_is_detected(scripted: Scripted) -> None:
    """Harbor is detected by one request without a login."""
    registry = scripted(catalogue="harbor", auth="token")

    assert catalogue(registry, None, USER).kind == "harbor"
    (asked,) = registry.requests()
    assert "authorization" not in asked.headers


@pytest.mark.parametrize("options", [{}, {"auth": "basic"}, {"auth": "token"}])
def test_other_registries_use_the_v2_catalogue(scripted: Scripted, options: dict[str, Any]) -> None:
    """Any other registry has the catalogue of distribution."""
    registry = scripted(catalogue="v2", **options)
    fill(registry, "team/a")
    found = catalogue(registry, None, USER)

    assert (found.kind, found.repositories("team").paths) == ("v2", ("team/a",))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("harbor", '[{"digest": "x", "tags": 5}]'), ("harbor", '[{"tags": ["v1"]}]'),
        ("harbor", '[{"tags": {"name": "v1"}}]'), ("ghcr", '[{"metadata": 5}]'),
        ("ghcr", '[{"metadata": {"container": []}}]'), ("ghcr", '[{"metadata": {"container": {"tags": 5}}}]'),
        ("ghcr", '[{"metadata": {"container": {"tags": [5]}}}]'), ("gar", '{"tags": 5}'),
        ("gar", '{"child": []}'), ("gar", '{"manifest": {}}'),
        ("gar", '{"tags": [], "manifest": {"sha256:0": {"tag": 5}}}'),
        ("acr", '{"tags": {}}'), ("quay", '{"tags": [5]}'), ("hub", '{"results": 5}'), ("gitlab", "{}"),
    ],
)  # fmt: skip
def test_unparsable_tag_listing_is_an_error(scripted: Scripted, kind: CatalogueKind, body: str) -> None:
    """An answer that is not a listing of tags is an error of the registry, and never an empty listing."""
    registry = scripted(catalogue=kind)
    fill(registry, "team/a")
    registry.fault(Fault(action=Reply(status=200, body=body), times=10))

    with pytest.raises(RegistryError):
        catalogue(registry, kind).tags(Repository(registry.address, "team/a"))


def test_invalid_time_is_none() -> None:
    """An invalid time is read as None."""
    for text in ("", "0 JAN 0:3000000000 0", "0001-01-01T00:00:00Z", "9999-99-99", "\ud800"):
        assert parse_time(text) == 0.0
    for value in (10**400, -5, 0, "5", None, 1e300):
        assert parse_seconds(value) == 0.0
    east, west = "2026-01-01T02:00:00.1234567+02:00", "Wed, 31 Dec 2025 19:00:00 -0500"
    assert (int(parse_time(east)), parse_time(west)) == (1_767_225_600, 1_767_225_600)


def test_google_listing_of_10000_tags_is_incomplete(scripted: Scripted) -> None:
    """Google's listing is incomplete from 10,000 tags on, which is reported."""
    registry = scripted(catalogue="gar")
    registry.add("team/a", image(layer("a")), "v")
    many = {f"sha256:{number:064x}": {"tag": [f"v{number}"]} for number in range(10_000)}

    answer = Reply(
        status=200,
        headers={"Content-Type": "application/json"},
        body=json.dumps({"manifest": many, "tags": []}),
    )
    registry.fault(Fault(action=answer))

    page = catalogue(registry, "gar").tags(Repository(registry.address, "team/a"))

    assert page is not None
    assert "incomplete" in page.short


@pytest.mark.parametrize("kind", ["hub", "quay", "gitlab", "ghcr"])
def test_unlistable_whole_registry_is_an_error(scripted: Scripted, kind: CatalogueKind) -> None:
    """A vendor's registry that cannot be listed as a whole gives an error that says what to write."""
    registry = scripted(catalogue=kind)

    with pytest.raises(RegistryError, match="in front of the first"):
        catalogue(registry, kind).repositories("")


def test_github_user_without_organization(scripted: Scripted) -> None:
    """Without an organization of that name, the user's packages are listed."""
    registry = scripted(catalogue="ghcr")
    fill(registry, "user1/a")
    found = catalogue(registry, "ghcr")

    assert found.repositories("user1").paths == ("user1/a",)
    assert set(tags_of(found, Repository(registry.address, "user1/a"))) == {"v1", "v2", "w"}
    assert len(registry.requests()) == 3


def test_catalog_host_never_gets_the_registrys_login(scripted: Scripted) -> None:
    """A host that `catalog` names gets its own login, never the registry's."""
    registry, api = scripted(), scripted(catalogue="gitlab", auth="token", anonymous=True)
    setting = CatalogueSetting(kind="gitlab", host=api.address)
    made = Clients(
        QUICK,
        lambda place: USER if place.registry == registry.address else ANONYMOUS,
        settings_of=lambda _: RegistrySettings(catalog=setting),
    )
    fill(api, "team/a")

    assert made.catalogue(registry.address).repositories("team").paths == ("team/a",)
    assert all("authorization" not in asked.headers for asked in api.requests())
