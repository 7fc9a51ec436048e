"""The files that a run reads: those named by flags, else those in the working directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.log import Event

_ENDINGS = (".json", ".yaml", ".yml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files of a run: `config` alone, or `images` and perhaps `auth`."""

    auth: Path | None = None
    images: Path | None = None
    """None only if no rules file is needed."""
    config: Path | None = None
    warnings: tuple[Event, ...] = ()


def choose_files(
    *,
    auth: Path | None,
    images: Path | None,
    config: Path | None,
    rules_needed: bool = True,
    directory: Path = Path(),
) -> Files:
    """Choose files by --auth, --images and --config, else from `directory`.

    In `directory`, auth and images may end in .json, .yaml or .yml, config in .json.

    Args:
        auth: the credentials file; None: not given. The same for the next two.
        images: the rules file.
        config: the single file with both; takes precedence over the others.
        rules_needed: whether a missing rules file is an error.
        directory: where to search for files that are not given.

    Raises:
        UsageError: a rules file is needed and missing, or there are two candidates.
    """
    named = auth is not None or images is not None
    ignored = [path for path in (auth, images) if path is not None]
    if config is None and not named and (directory / "config.json").exists():
        config = directory / "config.json"
        ignored = _existing(directory, "images") if rules_needed else []
    if config is not None:
        reason = f"{config} holds both rules and credentials and takes precedence"
        return Files(config=config, warnings=tuple(_ignored(path, reason) for path in ignored))
    warnings: list[Event] = []
    auth = auth or _found(directory, "auth", warnings)
    if images is None and rules_needed:
        images = _found(directory, "images", warnings)
        if images is None:
            hint = "use --images FILE, or create images.json or images.yaml in this directory"
            raise UsageError(f"no rules file ({hint})")
    return Files(auth=auth, images=images, warnings=tuple(warnings))


def rules_ignored(path: str, verb: str) -> Event:
    """The warning that only the credentials of the file are used."""
    return Event(
        name="config.file_ignored",
        message=f"the rules in {path} are ignored, only its credentials are used:"
        f" {verb} gets its rule from the command line",
        level="warning",
        fields={"file.path": path},
    )


def _existing(directory: Path, stem: str) -> list[Path]:
    return [path for ending in _ENDINGS if (path := directory / f"{stem}{ending}").exists()]


def _found(directory: Path, stem: str, warnings: list[Event]) -> Path | None:
    """The file of that name; .json takes precedence, with a warning that names the others."""
    there = _existing(directory, stem)
    if not there:
        return None
    first, *others = there
    if others and first.suffix != ".json":
        raise UsageError(f"both {first} and {others[0]} exist; name one of them: --{stem} {first}")
    warnings += [
        _ignored(path, f"{first} exists too and takes precedence; use --{stem} to name another file")
        for path in others
    ]
    return first


def _ignored(path: Path, reason: str) -> Event:
    return Event(
        name="config.file_ignored",
        message=f"{path} is not read: {reason}",
        level="warning",
        fields={"file.path": str(path)},
    )
