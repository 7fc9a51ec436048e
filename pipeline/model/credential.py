"""A registry credential and its origin."""

from __future__ import annotations

from dataclasses import field

from pipeline.dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A login; secrets are not in its repr."""

    origin: str
    """For people: `auth.yaml key quay.io/team`, `~/.docker/config.json`, `docker-credential-ecr-login`,
    `none`."""
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    """A refresh token for the OAuth2 form of the token request."""
    registry_token: str = field(default="", repr=False)
    """A ready bearer token."""
    insecure: bool = False
    """Plain HTTP is allowed, and certificates are not verified."""
    realms: tuple[str, ...] = ()
    """Token servers at private addresses, `host` or `host:port`, that the registry may name."""

    @property
    def anonymous(self) -> bool:
        """Whether there is nothing to authenticate with."""
        return not (self.username or self.password or self.identity_token or self.registry_token)
