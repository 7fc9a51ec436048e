"""Which files a run reads: those that are named, else those that lie in the working directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.log import Event


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

    Args:
        auth: the credentials file; None: not named. Likewise the next two.
        images: the rules file.
        config: the single file with both; it wins over the others.
        rules_needed: whether no rules file at all is an error.
        directory: where auth.json, images.json and config.json are looked for.

    Raises:
        UsageError: a rules file is needed and there is none.
    """
    named = auth is not None or images is not None
    if config is None and not named:
        config = _existing(directory / "config.json")
        images = _existing(directory / "images.json")
    if config is not None:
        ignored = [path for path in (auth, images) if path is not None]
        return Files(config=config, warnings=tuple(_ignored(path, config) for path in ignored))
    auth = auth or _existing(directory / "auth.json")
    images = images or _existing(directory / "images.json")
    if images is None and rules_needed:
        others = [
            path.name for path in (directory / "images.yaml", directory / "images.yml") if path.exists()
        ]
        hint = (
            f"name it: --images {others[0]}" if others else "--images FILE, or images.json in this directory"
        )
        raise UsageError(f"no rules file: nothing says what to copy ({hint})")
    return Files(auth=auth, images=images)


def rules_ignored(path: str, verb: str) -> Event:
    """The warning that of a file with both only the credentials are read."""
    return Event(
        name="config.file_ignored",
        message=f"the rules of {path} are not read, its credentials are: {verb} has its rule with it",
        level="warning",
        fields={"file.path": path},
    )


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


def _ignored(path: Path, config: Path) -> Event:
    return Event(
        name="config.file_ignored",
        message=f"{path} is not read: {config} holds both rules and credentials and wins",
        level="warning",
        fields={"file.path": str(path)},
    )
