"""Platforms: normal forms, and the filter of --os and --arch or of a rule's platforms.

Source: containerd/platforms for the normal forms; image-spec (image-index.md, "platform"). The fallback
chains of runtimes (arm64 runs arm/v8, amd64/v3 runs amd64) do not apply to a filter.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.errors import RuleError, UsageError
from pipeline.model.units import meant

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9._+-]*[A-Za-z0-9])?"
_CLAUSE = re.compile(rf"({_WORD})(?::({_WORD}))?")
_PLATFORM = re.compile(rf"({_WORD})(?::({_WORD}))?/({_WORD})(?:/({_WORD}))?")
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
_KNOWN_OS = (
    "linux",
    "windows",
    "darwin",
    "freebsd",
    "netbsd",
    "openbsd",
    "solaris",
    "aix",
    "android",
    "wasi",
    "js",
)
_KNOWN_ARCHITECTURES = (
    *("386", "amd64", "arm", "arm64", "loong64", "mips", "mipsle", "mips64", "mips64le", "ppc64", "ppc64le"),
    *("riscv64", "s390x", "sparc64", "wasm"),
)
"""Go's words (https://go.dev/doc/install/source#environment): other ones that resemble them are slips."""
_LEFT_OUT = {"amd64": "v1", "arm64": "v8"}
"""The variant that the normal form leaves out, by architecture."""


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
    """The wanted platforms, sorted and normalised by `parse_filter` or `parse_platforms`."""

    os: tuple[tuple[str, str], ...] = ()
    """(os, version): a version also matches as a dotted prefix; empty: any."""
    arch: tuple[tuple[str, str], ...] = ()
    """(architecture, variant): with the variant spelled out, also v8 of arm64 and v1 of amd64; empty: any."""
    any_of: tuple[Platform, ...] = ()
    """Alternatives, each with os and architecture, instead of the product of the above; empty: none."""

    @property
    def active(self) -> bool:
        """Whether the filter can drop anything."""
        return bool(self.os or self.arch or self.any_of)

    @property
    def alternatives(self) -> tuple[str, ...]:
        """`any_of` as a rules file has it."""
        return tuple(_alternative(platform) for platform in self.any_of)

    def __str__(self) -> str:
        """`--os linux --arch amd64,arm64:v8` or `linux/amd64,linux/arm64/v8`; empty: inactive.

        Canonical: it is a key in the records.
        """
        if self.any_of:
            return ",".join(self.alternatives)
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
        if self.any_of:
            return any(
                _os_fits(platform, [(each.os, each.os_version)])
                and _arch_fits(platform, [(each.architecture, each.variant)])
                for each in self.any_of
            )
        return _os_fits(platform, self.os) and _arch_fits(platform, self.arch)


def _os_fits(platform: Platform, wanted: Sequence[tuple[str, str]]) -> bool:
    return not (wanted and platform.os) or any(
        platform.os == os and _is_version(platform.os_version, version) for os, version in wanted
    )


def _arch_fits(platform: Platform, wanted: Sequence[tuple[str, str]]) -> bool:
    variant = platform.variant or _LEFT_OUT.get(platform.architecture, "")
    return not (wanted and platform.architecture) or any(
        platform.architecture == architecture and asked in ("", variant) for architecture, asked in wanted
    )


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


def parse_platforms(texts: Sequence[str]) -> Filter:
    """Read a rule's platforms; `all` alone is the filter that drops nothing.

    Args:
        texts: one or more; `linux/amd64`, `linux/arm64/v8`, `windows:10.0.17763/amd64`.

    Raises:
        RuleError: one has another form; the message says what to write.
    """
    if tuple(texts) == ("all",):
        return Filter()
    return Filter(any_of=tuple(sorted({parse_platform(text) for text in texts}, key=str)))


def parse_platform(text: str) -> Platform:
    """Read one of a rule's platforms.

    Raises:
        RuleError: as `parse_platforms`.
    """
    found = _PLATFORM.fullmatch(text.strip())
    if found is None:
        hint = "expected linux/amd64, linux/arm64/v8, windows:10.0.17763/amd64, or all alone"
        raise RuleError(f"{text!r} is not a platform", hint=hint)
    name, version, machine, variant = (part or "" for part in found.groups())
    os, version = _system(name, version)
    architecture, variant = _machine(machine, variant)
    for word, known in ((os, _KNOWN_OS), (architecture, _KNOWN_ARCHITECTURES)):
        slip = "" if word in known else meant(word, known)
        if slip:
            raise RuleError(f"{text!r}: {word} is not known{slip}", hint="see the platforms of the image")
    return Platform(os=os, os_version=version, architecture=architecture, variant=variant)


def _alternative(platform: Platform) -> str:
    version = f":{platform.os_version}" if platform.os_version else ""
    variant = f"/{platform.variant}" if platform.variant else ""
    return f"{platform.os}{version}/{platform.architecture}{variant}"


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
