"""Platforms: normal forms, and the --os/--arch filter.

Source: containerd/platforms for the normal forms; image-spec (image-index.md, "platform").
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """One platform in normal form; an empty field is not stated."""

    os: str = ""
    os_version: str = ""
    architecture: str = ""
    variant: str = ""
