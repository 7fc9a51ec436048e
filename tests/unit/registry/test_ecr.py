"""ECR's catalogue with boto3 replaced: its calls, and the errors that it reports."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import RegistryError
from pipeline.model.catalogue import ListedTag
from pipeline.model.reference import Repository
from pipeline.registry.catalogue.ecr import EcrCatalogue

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
DIGEST = f"sha256:{'a' * 64}"
PUSHED = datetime(2026, 1, 2, tzinfo=UTC)


class _ClientError(Exception):
    """An error like botocore's."""

    def __init__(self, code: str, status: int) -> None:
        """Take ECR's message."""
        super().__init__(code)
        said = {"Code": code, "Message": f"an error\nnamed {code}"}
        self.response = {"Error": said, "ResponseMetadata": {"HTTPStatusCode": status}}


class Ecr:
    """A client with one item in each page."""

    def __init__(self) -> None:
        """Start without failures."""
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.failure: Exception | None = None

    def __getattr__(self, name: str) -> Callable[..., dict[str, Any]]:
        """Answer any call."""

        def call(**asked: Any) -> dict[str, Any]:
            self.asked.append((name, asked))
            if self.failure is not None:
                raise self.failure
            image = {"imageDigest": DIGEST, "imageTags": ["v1", "v2"], "imagePushedAt": PUSHED}
            more = {} if asked.get("nextToken") else {"nextToken": "more"}
            return {"repositories": [{"repositoryName": "team/a"}], "imageDetails": [image], **more}

        return call


@pytest.fixture
def ecr(monkeypatch: pytest.MonkeyPatch) -> Ecr:
    """Modules boto3 and botocore with one client."""
    made, regions = Ecr(), []
    boto3, botocore, config, causes = (
        ModuleType(name) for name in ("boto3", "botocore", "botocore.config", "botocore.exceptions")
    )

    def client(service: str, *, region_name: str, config: Any) -> Ecr:
        regions.append((service, region_name))
        return made

    boto3.client = client  # type: ignore[attr-defined] # a stand-in
    config.Config = lambda **_: None  # type: ignore[attr-defined] # likewise
    causes.ClientError = _ClientError  # type: ignore[attr-defined] # likewise
    causes.BotoCoreError = OSError  # type: ignore[attr-defined] # likewise
    botocore.exceptions = causes  # type: ignore[attr-defined] # likewise
    for module in (boto3, botocore, config, causes):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return made


def test_repositories_of_all_pages_are_listed(ecr: Ecr) -> None:
    """Pages of repositories follow the token."""
    found = EcrCatalogue(HOST)
    first = found.repositories("team", "")
    last = found.repositories("team", first.more[0])

    assert (first.paths, last.more) == (("team/a",), ())
    assert [asked for _, asked in ecr.asked] == [
        {"maxResults": 1000},
        {"maxResults": 1000, "nextToken": "more"},
    ]


def test_tags_have_digest_and_push_time(ecr: Ecr) -> None:
    """Each tag of an image has its digest and the time of its push."""
    page = EcrCatalogue(HOST).tags(Repository(HOST, "team/a"), "")

    assert page is not None
    assert page.tags == tuple(ListedTag(tag, DIGEST, PUSHED.timestamp()) for tag in ("v1", "v2"))
    assert ecr.asked[0][1]["filter"] == {"tagStatus": "TAGGED"}


def test_repository_is_created(ecr: Ecr) -> None:
    """A repository is created; an existing one is not a failure."""
    found, repository = EcrCatalogue(HOST), Repository(HOST, "team/new")

    assert found.create(repository)
    ecr.failure = _ClientError("RepositoryAlreadyExistsException", 400)
    assert not found.create(repository)


def test_missing_repository_is_reported(ecr: Ecr) -> None:
    """A plan asks whether a repository exists; any other refusal than its absence is a fault."""
    found, repository = EcrCatalogue(HOST), Repository(HOST, "team/new")

    assert found.lacks(repository) == ""
    assert ecr.asked[-1] == ("describe_repositories", {"repositoryNames": ["team/new"]})
    ecr.failure = _ClientError("RepositoryNotFoundException", 400)
    assert found.lacks(repository) == "the repository team/new"
    ecr.failure = _ClientError("AccessDeniedException", 400)
    with pytest.raises(RegistryError, match="AccessDenied"):
        found.lacks(repository)


def test_refusal_names_missing_permissions(ecr: Ecr) -> None:
    """A refusal has ECR's message on one line, and names the missing permissions."""
    ecr.failure = _ClientError("AccessDeniedException", 400)

    with pytest.raises(RegistryError, match="an error named AccessDenied") as caught:
        EcrCatalogue(HOST).repositories("team", "")

    assert "ecr:DescribeRepositories" in caught.value.fault.hint
    assert not caught.value.fault.retryable


def test_missing_aws_credentials_are_a_fault(ecr: Ecr) -> None:
    """Missing AWS credentials are a fault, not a traceback."""
    ecr.failure = OSError("Unable to locate credentials")

    with pytest.raises(RegistryError, match="Unable to locate credentials"):
        EcrCatalogue(HOST).repositories("team", "")


def test_missing_boto3_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, one line says what to install."""
    monkeypatch.setitem(sys.modules, "boto3", None)

    with pytest.raises(RegistryError, match="boto3 is not installed") as caught:
        EcrCatalogue(HOST).repositories("team", "")

    assert "image-syncer[ecr]" in caught.value.fault.hint
