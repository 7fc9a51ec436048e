"""Logins from the command line; they apply only to the repositories of the one copy."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pipeline.errors import UsageError
from pipeline.log import Event
from pipeline.model.credential import Credential
from pipeline.settings import KIB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.model.reference import Repository
    from pipeline.model.selection import Rule
    from pipeline.settings import GivenLogin, Options

_MAX_PASSWORD = 64 * KIB


def given_credentials(
    rule: Rule, options: Options, environ: Mapping[str, str]
) -> tuple[Mapping[Repository, Credential], tuple[Event, ...]]:
    """The credentials of --insecure, --src-creds and --dest-creds by repository, and warnings.

    Raises:
        UsageError: a password is missing, or one repository would have two logins.
    """
    source, destination = options.src_creds, options.dest_creds
    if source and destination and source.from_input and destination.from_input:
        raise UsageError(
            "--src-creds and --dest-creds cannot both read standard input: use USER:$NAME for one"
        )
    if rule.expansion is not None and (source or destination or options.insecure):
        raise UsageError("--src-creds, --dest-creds and --insecure need named repositories: use --auth FILE")
    targets = {target.repository for target in rule.targets}
    if source and destination and source != destination and rule.source in targets:
        raise UsageError(f"{rule.source} is both source and destination: give it one login")
    found: dict[Repository, Credential] = {}
    if options.insecure:
        found = dict.fromkeys((rule.source, *targets), Credential(origin="none", insecure=True))
    given = (("--dest-creds", destination, targets), ("--src-creds", source, {rule.source}))
    for flag, login, repositories in given:
        if login is not None:
            password = _password(login, flag, environ)
            credential = Credential(
                origin=flag, username=login.username, password=password, insecure=options.insecure
            )
            found |= dict.fromkeys(repositories, credential)
    shown = (flag for flag, login, _ in given if login is not None and login.password)
    return found, tuple(_shown(flag) for flag in shown)


def _password(login: GivenLogin, flag: str, environ: Mapping[str, str]) -> str:
    if login.variable:
        password = environ.get(login.variable, "")
        words = f"{flag}: the variable {login.variable} is not set or empty"
    elif login.from_input:
        password = _read_input(flag)
        words = f"{flag}: standard input holds no password"
    else:
        return login.password
    if not password:
        raise UsageError(words)
    try:
        password.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{flag}: the password is not UTF-8") from None
    return password


def _read_input(flag: str) -> str:
    """The password from standard input, without a final newline."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(f"{flag}: pipe the password in, or name a variable: USER:$NAME")
    try:
        content = sys.stdin.buffer.read(_MAX_PASSWORD + 1)
    except OSError as error:
        raise UsageError(f"{flag}: standard input cannot be read: {error.strerror}") from error
    if len(content) > _MAX_PASSWORD:
        raise UsageError(
            f"{flag}: standard input holds more than {_MAX_PASSWORD // KIB} KiB, which is not a password"
        )
    return content.decode(errors="surrogateescape").removesuffix("\n").removesuffix("\r")


def _shown(flag: str) -> Event:
    """The warning about a password on the command line."""
    return Event(
        name="config.password_shown",
        message=f"{flag} contains the password, which every user of this machine can see in the process list;"
        " write USER:- and pipe it in, or USER:$NAME",
        level="warning",
        fields={"flag": flag},
    )
