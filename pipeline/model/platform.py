"""Platforms: normal forms, and the --os/--arch filter.

Source: containerd/platforms for the normal forms; image-spec (image-index.md, "platform"). The fallback
chains of runtimes (arm64 runs arm/v8, amd64/v3 runs amd64) do not apply to a filter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import UsageError
from pipeline.model.fast_pickle import fast_pickle

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9._+-]*[A-Za-z0-9])?"
_CLAUSE = re.compile(rf"({_WORD})(?::({_WORD}))?")
_OS = {"macos": "darwin"}
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
_IMPLIED = {"i386": ("386", ""), "armhf": ("arm", "v7"), "armel": ("arm", "v6")}
_VARIANTS = {
    ("amd64", "v1"): "",
    ("arm64", "8"): "",
    ("arm64", "v8"): "",
    ("arm64", "v8.0"): "",
    ("arm64", "9"): "v9",
    ("arm64", "9.0"): "v9",
    ("arm64", "v9.0"): "v9",
    ("arm", ""): "v7",
    ("arm", "7"): "v7",
    ("arm", "5"): "v5",
    ("arm", "6"): "v6",
    ("arm", "8"): "v8",
}
_LEFT_OUT = {"amd64": "v1", "arm64": "v8"}
"""The variant that the normal form leaves out, by architecture."""


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """One platform in normal form; an empty field is not stated."""

    os: str = ""
    os_version: str = ""
    architecture: str = ""
    variant: str = ""

    def __str__(self) -> str:
        """`linux/arm/v7`, `windows(10.0.17763.1397)/amd64`; `?` for what is not stated."""
        version = f"({self.os_version})" if self.os_version else ""
        variant = f"/{self.variant}" if self.variant else ""
        return f"{self.os or '?'}{version}/{self.architecture or '?'}{variant}"


def normalise(*, os: str = "", os_version: str = "", architecture: str = "", variant: str = "") -> Platform:
    """Bring a platform that some tool wrote into a comparable form (containerd/platforms).

    Of an os version only the case changes. Empty fields stay empty, except that arm without a variant is v7.
    """
    os, os_version = os.strip().lower(), os_version.strip().lower()
    architecture, variant = architecture.strip().lower(), variant.strip().lower()
    if architecture in _IMPLIED:
        architecture, variant = _IMPLIED[architecture]
    else:
        architecture = _ARCHITECTURES.get(architecture, architecture)
        variant = _VARIANTS.get((architecture, variant), variant)
    return Platform(
        os=_OS.get(os, os),
        os_version=os_version,
        architecture=architecture,
        variant=variant,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """The wanted platforms, sorted and normalised by `parse_filter`."""

    os: tuple[tuple[str, str], ...] = ()
    """(os, version): a version also matches as a dotted prefix; empty: any."""
    arch: tuple[tuple[str, str], ...] = ()
    """(architecture, variant): with the variant spelled out, also v8 of arm64 and v1 of amd64; empty: any."""

    @property
    def active(self) -> bool:
        """Whether the filter can drop anything."""
        return bool(self.os or self.arch)

    def __str__(self) -> str:
        """`--os linux --arch amd64,arm64:v8`: canonical, a key in the records; empty: inactive."""
        flags = (("--os", self.os), ("--arch", self.arch))
        return " ".join(
            f"{flag} {','.join(':'.join(filter(None, clause)) for clause in clauses)}"
            for flag, clauses in flags
            if clauses
        )

    def matches(self, platform: Platform | None) -> bool:
        """Whether the platform is wanted; a field that is not stated matches everything."""
        if platform is None:
            return True
        variant = platform.variant or _LEFT_OUT.get(platform.architecture, "")
        os_fits = not (self.os and platform.os) or any(
            platform.os == os and _is_version(platform.os_version, version) for os, version in self.os
        )
        arch_fits = not (self.arch and platform.architecture) or any(
            platform.architecture == architecture and wanted in ("", variant)
            for architecture, wanted in self.arch
        )
        return os_fits and arch_fits


def _is_version(version: str, wanted: str) -> bool:
    """Whether an os version is the wanted one, starts with it and a dot, or is not stated."""
    return wanted in ("", version) or not version or version.startswith(f"{wanted}.")


def parse_filter(os: Sequence[str], arch: Sequence[str]) -> Filter:
    """Read the values of --os and --arch; each may be a comma-separated list.

    Args:
        os: `linux`, `windows:10.0.17763`.
        arch: `amd64`, `arm64:v8`, `arm:v7`.

    Raises:
        UsageError: a value is empty or has another form; the message says what to write.
    """
    systems = (_clause("--os", value, "windows:10.0.17763") for value in _split(os))
    machines = (_clause("--arch", value, "arm64:v8") for value in _split(arch))
    return Filter(
        os=tuple(sorted({_system(name, version) for name, version in systems})),
        arch=tuple(sorted({_machine(name, variant) for name, variant in machines})),
    )


def _split(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(part.strip() for value in values for part in value.split(","))


def _clause(flag: str, text: str, example: str) -> tuple[str, str]:
    found = _CLAUSE.fullmatch(text)
    if found is None:
        slash = "; give both parts as --os linux --arch amd64" if "/" in text else ""
        given = f"{text!r} is not understood" if text else "a value is empty"
        plain = example.partition(":")[0]
        raise UsageError(f"{flag}: {given}: expected a name like {plain} or {example}{slash}")
    return found[1], found[2] or ""


def _system(name: str, version: str) -> tuple[str, str]:
    platform = normalise(os=name, os_version=version)
    return platform.os, platform.os_version


def _machine(name: str, variant: str) -> tuple[str, str]:
    platform = normalise(architecture=name, variant=variant)
    if not variant and name.lower() not in _IMPLIED:
        return platform.architecture, ""
    return platform.architecture, platform.variant or _LEFT_OUT.get(platform.architecture, "")
