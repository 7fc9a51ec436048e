"""Which files a run reads: those that are named, else those that lie in the working directory."""

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
    """None only where no rules file is needed."""
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
    """Choose from what --auth, --images and --config name and from what `directory` holds.

    There auth and images are looked for as .json, .yaml and .yml, config as .json.

    Args:
        auth: the credentials file; None: not named. Likewise the next two.
        images: the rules file.
        config: the single file with both; it wins over the others.
        rules_needed: whether no rules file at all is an error.
        directory: where files are looked for that are not named.

    Raises:
        UsageError: a rules file is needed and there is none, or there are two and nothing says which.
    """
    named = auth is not None or images is not None
    ignored = [path for path in (auth, images) if path is not None]
    if config is None and not named and (directory / "config.json").exists():
        config = directory / "config.json"
        ignored = _there(directory, "images") if rules_needed else []
    if config is not None:
        reason = f"{config} holds both rules and credentials and wins"
        return Files(config=config, warnings=tuple(_ignored(path, reason) for path in ignored))
    warnings: list[Event] = []
    auth = auth or _found(directory, "auth", warnings)
    if images is None and rules_needed:
        images = _found(directory, "images", warnings)
        if images is None:
            hint = "--images FILE, or images.json or images.yaml in this directory"
            raise UsageError(f"no rules file: nothing says what to copy ({hint})")
    return Files(auth=auth, images=images, warnings=tuple(warnings))


def rules_ignored(path: str, verb: str) -> Event:
    """The warning that of a file with both only the credentials are read."""
    return Event(
        name="config.file_ignored",
        message=f"the rules of {path} are not read, its credentials are: {verb} has its rule with it",
        level="warning",
        fields={"file.path": path},
    )


def _there(directory: Path, stem: str) -> list[Path]:
    return [path for ending in _ENDINGS if (path := directory / f"{stem}{ending}").exists()]


def _found(directory: Path, stem: str, warnings: list[Event]) -> Path | None:
    """The file of that name; .json goes before the others, with a warning that names them."""
    there = _there(directory, stem)
    if not there:
        return None
    first, *others = there
    if others and first.suffix != ".json":
        raise UsageError(f"both {first} and {others[0]} are here; name one of them: --{stem} {first}")
    warnings += [_ignored(path, f"{first} is here too and wins; --{stem} names another") for path in others]
    return first


def _ignored(path: Path, reason: str) -> Event:
    return Event(
        name="config.file_ignored",
        message=f"{path} is not read: {reason}",
        level="warning",
        fields={"file.path": str(path)},
    )
