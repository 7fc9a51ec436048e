"""Referrers: a missing API, errors, and requests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RegistryError, ThrottledError
from pipeline.model.companions import fallback_tag
from pipeline.model.referrers import Referrer
from pipeline.registry.listing import ReferrerPage
from tests.registry.content import OCI_INDEX, artifact, digest_of, image
from tests.registry.faults import Fault, Reply
from tests.unit.registry.asking import client, reference, repository

if TYPE_CHECKING:
    from tests.registry.fixtures import Scripted

IMAGE = image(b"layer")
ENTRY = {"mediaType": "m", "digest": digest_of(b"a")}
PAGE = "<html><title>Sign in</title></html>"
HTML = {"Content-Type": "text/html"}
NOT_REFERRERS = [
    "{}",
    "",
    "[]",
    "null",
    '{"manifests":{}}',
    '{"manifests":[1]}',
    json.dumps({"manifests": [ENTRY], "errors": [{}]}),
    *(
        json.dumps({"manifests": [ENTRY | change]})
        for change in ({"digest": "x"}, {"digest": 1}, {"mediaType": None})
    ),
    json.dumps({"manifests": [ENTRY, ENTRY | {"artifactType": 1}]}),
]
"""Bodies with status 200 that are not lists of referrers."""


def index(*entries: object) -> str:
    """A list of referrers."""
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})


class TestReferrers:
    @pytest.mark.parametrize("status", [400, 404, 405, 501])
    def test_missing_api_costs_one_request(self, scripted: Scripted, status: int) -> None:
        """These statuses mean that there is no API, after one request."""
        registry = scripted(referrers="yes")
        registry.fault(Fault(action=Reply(status=status), times=None))

        assert client(registry).referrers(repository(registry), IMAGE.digest) is None
        assert 1 == len(registry.requests())

    def test_web_page_means_no_api(self, scripted: Scripted) -> None:
        """A web page instead of a list means that there is no API."""
        registry = scripted(referrers="yes")
        registry.fault(Fault(action=Reply(status=200, headers=HTML, body=PAGE)))

        assert client(registry).referrers(repository(registry), IMAGE.digest) is None

    @pytest.mark.parametrize("body", NOT_REFERRERS)
    def test_unparsable_list_is_an_error(self, scripted: Scripted, body: str) -> None:
        """An answer that is not a list of referrers is an error: neither an empty list nor a missing API."""
        registry = scripted(referrers="yes")
        registry.fault(Fault(action=Reply(status=200, body=body), times=None))

        with pytest.raises(RegistryError, match="not a list of referrers"):
            client(registry).referrers(repository(registry), IMAGE.digest)

    @pytest.mark.parametrize("status", [401, 403, 500, 202])
    def test_other_status_is_an_error_with_the_digest(self, scripted: Scripted, status: int) -> None:
        """Other statuses are errors that name the digest."""
        registry = scripted(referrers="yes")
        registry.fault(Fault(action=Reply(status=status), times=None))

        with pytest.raises(RegistryError) as caught:
            client(registry).referrers(repository(registry), IMAGE.digest)

        assert (status, f"list the referrers of {IMAGE.digest}") == (
            caught.value.fault.status,
            caught.value.fault.operation,
        )

    @pytest.mark.parametrize("status", [400, 429])
    def test_rate_limit_is_not_a_missing_api(self, scripted: Scripted, status: int) -> None:
        """A rate limit is not a missing API, even with status 400 as from ECR."""
        registry = scripted(referrers="yes")
        registry.fault(Fault(action=Reply(status=status, body='{"errors":[{"code":"TOOMANYREQUESTS"}]}')))

        with pytest.raises(ThrottledError):
            client(registry).referrers(repository(registry), IMAGE.digest)

    def test_null_list_is_empty(self, scripted: Scripted) -> None:
        """A list that is null is empty."""
        registry = scripted(referrers="yes")
        registry.fault(Fault(action=Reply(status=200, body='{"manifests":null}')))

        assert ReferrerPage(referrers=()) == client(registry).referrers(repository(registry), IMAGE.digest)

    def test_referrer_without_type_passes_the_filter(self, scripted: Scripted) -> None:
        """A referrer without a type passes a filter that the registry does not apply."""
        registry = scripted(referrers="yes")
        other = ENTRY | {"digest": digest_of(b"b"), "artifactType": "other"}
        registry.fault(Fault(action=Reply(status=200, body=index(ENTRY, other))))

        page = client(registry).referrers(repository(registry), IMAGE.digest, artifact_type="wanted")
        assert (
            ReferrerPage(referrers=(Referrer(media_type="m", digest=ENTRY["digest"], artifact_type=""),))
            == page
        )

    def test_type_and_page_links_are_requested(self, scripted: Scripted) -> None:
        """The type is sent, and later pages use only the link's query."""
        registry = scripted(referrers="yes", referrers_page=1)
        for name in (b"1", b"2"):
            registry.add("team/app", artifact(name, kind="a/b+c", subject=IMAGE))
        asking, place = client(registry), repository(registry)

        first = asking.referrers(place, IMAGE.digest, artifact_type="a/b+c")
        assert first is not None
        second = asking.referrers(place, IMAGE.digest, page=first.next, artifact_type="a/b+c")
        assert second is not None
        last = first.referrers[0].digest.replace(":", "%3A")
        assert ["artifactType=a%2Fb%2Bc", f"artifactType=a%2Fb%2Bc&last={last}"] == [
            entry.query for entry in registry.requests()
        ]
        assert (2, "") == (len({*first.referrers, *second.referrers}), second.next)

    def test_missing_later_page_is_an_error(self, scripted: Scripted) -> None:
        """A 404 to a later page is an error: the API was there for the first one."""
        registry = scripted(referrers="yes")
        registry.fault(Fault(action=Reply(status=404), times=None))

        with pytest.raises(RegistryError) as caught:
            client(registry).referrers(repository(registry), IMAGE.digest, page="last=x")

        assert caught.value.fault.status == 404

    def test_link_without_query_is_an_error(self, scripted: Scripted) -> None:
        """A link to a next page that leads nowhere is an error, not the end of the list."""
        registry = scripted(referrers="yes")
        headers = {"Link": '</v2/team/app/referrers/>; rel="next"'}
        registry.fault(Fault(action=Reply(status=200, headers=headers, body=index())))

        with pytest.raises(RegistryError) as caught:
            client(registry).referrers(repository(registry), IMAGE.digest)

        assert caught.value.fault.code == "PAGINATION_INVALID"


class TestFallbackTag:
    @pytest.mark.parametrize(
        ("digest", "tag"),
        [
            (f"sha256:{'a' * 64}", f"sha256-{'a' * 64}"),
            (f"sha512:{'a' * 128}", f"sha512-{'a' * 64}"),
            (f"{'b' * 40}:x", f"{'b' * 32}-x"),
            ("sha3+x:a=_b", "sha3-x-a-_b"),
        ],
    )
    def test_digest_becomes_a_valid_tag(self, digest: str, tag: str) -> None:
        """Algorithm and digest are truncated, and characters that are invalid in a tag become hyphens."""
        assert tag == fallback_tag(digest)

    @pytest.mark.parametrize(
        "body", ['{"manifests":{}}', '{"manifests":[{}]}', index(ENTRY | {"digest": "x"})]
    )
    def test_invalid_index_entry_is_an_error(self, scripted: Scripted, body: str) -> None:
        """An index with an entry that is not a descriptor is an error, never an empty list."""
        registry = scripted()
        registry.fault(Fault(action=Reply(status=200, body=body), times=None))

        with pytest.raises(RegistryError) as caught:
            client(registry).tagged_referrers(repository(registry), IMAGE.digest)

        assert caught.value.fault.code == "MANIFEST_INVALID"

    def test_unreadable_tag_is_an_error(self, scripted: Scripted) -> None:
        """An unreadable tag is an error."""
        registry = scripted()
        registry.fault(Fault(action=Reply(status=403), times=None))

        with pytest.raises(RegistryError):
            client(registry).tagged_referrers(repository(registry), IMAGE.digest)

    def test_one_request_reads_the_tag(self, scripted: Scripted) -> None:
        """One request reads the tag, whether it exists or not."""
        registry = scripted()

        assert client(registry).tagged_referrers(repository(registry), IMAGE.digest) == ()
        tag = reference(registry, fallback_tag(IMAGE.digest)).name
        assert [("GET", f"/v2/team/app/manifests/{tag}")] == [
            (entry.method, entry.path) for entry in registry.requests()
        ]
