"""How a Dask worker makes its keyring: from its own files and environment. No secret travels through Dask.

A worker on another machine may have other files than this one, so the two are compared: by keys, usernames,
and settings of registries.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.config.credentials import read_credentials
from pipeline.config.given import given_credentials
from pipeline.config.legacy import read_legacy
from pipeline.config.rules import make_defaults
from pipeline.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.commands.job import Job
    from pipeline.config.keyring import Keyring
    from pipeline.model.selection import Rule
    from pipeline.settings import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLogins:
    """A Recipe: paths, and names of variables and users."""

    auth: tuple[Path, ...]
    """Absolute paths of the credentials files."""
    config: Path | None
    options: Options
    """For --src-creds and --dest-creds, which name variables."""
    rule: Rule | None
    """The rule of these logins."""
    expected: Mapping[str, str]
    """The logins and settings of the run's own keyring, as text."""

    def open(self, environ: Mapping[str, str]) -> Keyring:
        """The keyring of this machine.

        Raises:
            SyncError: a file is missing or invalid, or a variable is not set.
        """
        if self.config is not None:
            defaults = make_defaults(self.options.registry, self.options.namespace)
            keyring, _, _ = read_legacy(self.config, defaults=defaults, environ=environ)
        else:
            keyring, _ = read_credentials(self.auth, environ=environ)
        if self.rule is not None:
            given, _ = given_credentials(self.rule, self.options, environ)
            keyring = keyring.with_logins(given)
        shard = self.options.shard
        return keyring.shared(shard.parallelism) if shard else keyring

    def misfit(self, environ: Mapping[str, str]) -> str:
        """How the keyring of this machine differs from the run's; empty if it does not."""
        found = self.open(environ).describe()
        for key in sorted(found.keys() | self.expected.keys()):
            here, there = found.get(key, "nothing"), self.expected.get(key, "nothing")
            if here != there:
                return f"for {key} it has {here}, this run has {there}: give both the same credentials files"
        return ""


def logins_of(job: Job, options: Options) -> WorkerLogins:
    """The recipe for the workers of a run."""
    assert options.cluster is not None
    there, files = options.cluster.worker_auth, job.files
    return WorkerLogins(
        auth=there or tuple(path.absolute() for path in files.auth),
        config=files.config.absolute() if files.config is not None and not there else None,
        options=replace(options, arguments=()),
        rule=job.rules.rules[0] if options.words and job.rules.rules else None,
        expected=job.keyring.describe(),
    )
