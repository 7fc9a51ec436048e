"""Amazon's registry: its repositories and tags by boto3, which signs the requests; the extra `ecr` has it.

boto3 finds the credentials by its own rules: the environment, profiles, the role of the machine.
Source: docs.aws.amazon.com/AmazonECR/latest/APIReference, DescribeRepositories, DescribeImages,
CreateRepository.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

from pipeline.errors import RegistryError
from pipeline.model.catalogue import ListedTag, ListedTagPage, RepositoryPage
from pipeline.model.faults import fault_at, no_catalogue
from pipeline.model.reference import Repository, is_digest

if TYPE_CHECKING:
    from collections.abc import Callable

_HOST = re.compile(r"(?P<account>[0-9]{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\..*")
_PAGE = 1_000
"""The maximum that ECR returns at a time."""
_THROTTLED = frozenset({"ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded"})
_NOT_FOUND = "RepositoryNotFoundException"
_EXISTS = "RepositoryAlreadyExistsException"


class EcrCatalogue:
    """The repositories of one account in one region; thread-safe."""

    needs = "an AWS identity with ecr:DescribeRepositories and ecr:DescribeImages, found by boto3"

    def __init__(self, registry: str) -> None:
        """`registry`: its host."""
        self._registry = registry
        self._lock = threading.Lock()
        self._made: Any = None

    def repositories(self, namespace: str, page: str) -> RepositoryPage:
        """See Catalogue."""
        more = {"nextToken": page} if page else {}
        answer = self._call(
            namespace,
            "list the repositories",
            lambda ecr: ecr.describe_repositories(maxResults=_PAGE, **more),
        )
        token = answer.get("nextToken", "")
        return RepositoryPage(
            paths=tuple(each["repositoryName"] for each in answer["repositories"]),
            more=(token,) if token else (),
        )

    def tags(self, repository: Repository, page: str) -> ListedTagPage | None:
        """See Catalogue."""
        asked: dict[str, Any] = {"nextToken": page} if page else {}
        asked |= {"repositoryName": repository.path, "filter": {"tagStatus": "TAGGED"}, "maxResults": _PAGE}
        answer = self._call(
            repository.path, "list the tags with digests", lambda ecr: ecr.describe_images(**asked)
        )
        images = answer["imageDetails"]
        tags = tuple(
            ListedTag(tag, each["imageDigest"] if is_digest(each["imageDigest"]) else "", _moment(each))
            for each in images
            for tag in each.get("imageTags", ())
        )
        return ListedTagPage(tags=tags, entries=len(images), next=answer.get("nextToken", ""))

    def lacks(self, repository: Repository) -> str:
        """The repository, if it does not exist; see Catalogue."""
        names = [repository.path]
        try:
            self._call(
                repository.path,
                "look for the repository",
                lambda ecr: ecr.describe_repositories(repositoryNames=names),
            )
        except RegistryError as error:
            if error.fault.code == _NOT_FOUND:
                return f"the repository {repository.path}"
            raise
        return ""

    def create(self, repository: Repository) -> bool:
        """Create a repository; False if it already exists."""
        try:
            self._call(
                repository.path,
                "create the repository",
                lambda ecr: ecr.create_repository(repositoryName=repository.path),
            )
        except RegistryError as error:
            if error.fault.code == _EXISTS:
                return False
            raise
        return True

    def _call(self, place: str, operation: str, ask: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        client = self._client()
        import botocore.exceptions as causes  # noqa: PLC0415 - there only with the extra

        try:
            return ask(client)
        except causes.ClientError as error:
            said = error.response.get("Error", {})
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code, words = said.get("Code", ""), said.get("Message", str(error))
            raise self._error(place, operation, words=words, code=code, status=status) from None
        except causes.BotoCoreError as error:
            raise self._error(place, operation, words=str(error), code="CREDENTIALS", status=None) from None

    def _error(
        self, place: str, operation: str, *, words: str, code: str, status: int | None
    ) -> RegistryError:
        return RegistryError(
            fault_at(
                Repository(self._registry, place),
                "",
                operation=operation,
                words=" ".join(words.split()),
                code=code,
                status=status,
                retryable=code in _THROTTLED,
                hint=self.needs if status in (None, 400, 403) and code != _EXISTS else "",
            )
        )

    def _client(self) -> Any:
        """The client of boto3, which retries and waits by itself.

        Raises:
            RegistryError: boto3 is not installed, or the host is not one of ECR's.
        """
        with self._lock:
            if self._made is None:
                host = _HOST.fullmatch(self._registry)
                if host is None:
                    words = "the host names no account and region"
                    raise RegistryError(no_catalogue(self._registry, words, "see catalog in the auth file"))
                try:
                    import boto3  # noqa: PLC0415 - only with the extra
                    from botocore.config import Config  # noqa: PLC0415 - likewise
                except ImportError:
                    words = "ECR signs such requests, for which boto3 is not installed"
                    hint = "pip install 'image-syncer[ecr]', or name the repositories"
                    raise RegistryError(no_catalogue(self._registry, words, hint)) from None
                retries = Config(retries={"mode": "adaptive", "max_attempts": 10})
                self._made = boto3.client("ecr", region_name=host["region"], config=retries)
            return self._made


def _moment(image: dict[str, Any]) -> float:
    pushed = image.get("imagePushedAt")
    return float(pushed.timestamp()) if pushed is not None else 0.0
