"""Searches everything that a round leaves for secrets."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.watch import Watched

_SESSION = re.compile(r"/blobs/uploads/([^/?]{8,})")


def secrets_of(registries: list[Watched]) -> tuple[set[str], set[str]]:
    """Passwords and tokens; and upload sessions, which the records may hold until an upload ends."""
    secret, sessions = set(), set()
    for registry in registries:
        if registry.options.auth != "none":
            pairs = [f"user:{password}" for password in registry.passwords]
            secret |= registry.passwords | {base64.b64encode(pair.encode()).decode() for pair in pairs}
        for entry in registry.requests():
            secret.add(entry.headers.get("authorization", "").partition(" ")[2])
            secret.update(re.findall(r"signature=(\w+)", entry.query))
            sessions.update(_SESSION.findall(entry.target))
    return secret - {""}, sessions


def leaks(folder: Path, registries: list[Watched]) -> list[str]:
    """The files that hold a secret, except the user's own credentials file."""
    secret, sessions = secrets_of(registries)
    found = []
    for path in folder.rglob("*"):
        if not path.is_file() or path.name == "auth.json":
            continue
        content = path.read_bytes().decode(errors="replace")
        records = "records" in path.relative_to(folder).parts
        wanted = secret if records else secret | sessions
        found += [f"{path.relative_to(folder)} holds the secret {each}" for each in wanted if each in content]
    return found
