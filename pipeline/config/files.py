"""The files that a run reads: those named by flags, else those in the working directory."""

from __future__ import annotations

import glob
import os
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.errors import FileError, UsageError
from pipeline.log import Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

STANDARD_INPUT = Path("-")
"""The path that means standard input."""
_ENDINGS = (".json", ".yaml", ".yml")
_IN_FOLDERS = (*_ENDINGS, ".txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files of a run: `config` alone, or `images` and perhaps `auth`."""

    auth: tuple[Path, ...] = ()
    images: tuple[Path, ...] = ()
    """In file order; empty only if no rules file is needed."""
    config: Path | None = None
    warnings: tuple[Event, ...] = ()


def choose_files(
    *,
    auth: Sequence[Path],
    images: Sequence[Path],
    config: Path | None,
    rules_needed: bool = True,
    directory: Path = Path(),
) -> Files:
    """Choose files by --auth, --images and --config, else from `directory`.

    In `directory`, auth and images may end in .json, .yaml or .yml, config in .json.

    Args:
        auth: the credentials files.
        images: rules files, folders of them, and globs.
        config: the single file with both; takes precedence over the others.
        rules_needed: whether a missing rules file is an error.
        directory: where to search for files that are not given.

    Raises:
        UsageError: a rules file is needed and missing, or there are two candidates.
        FileError: a folder holds no rules file, or nothing matches a glob.
    """
    named = bool(auth or images)
    ignored = [*auth, *images]
    if config is None and not named and (directory / "config.json").exists():
        config = directory / "config.json"
        ignored = _existing(directory, "images") if rules_needed else []
    if config is not None:
        reason = f"{config} holds both rules and credentials and takes precedence"
        return Files(config=config, warnings=tuple(_ignored(path, reason) for path in ignored))
    warnings: list[Event] = []
    if not auth and (credentials := _found(directory, "auth", warnings)):
        auth = (credentials,)
    if not images and rules_needed:
        found = _found(directory, "images", warnings)
        if found is None:
            hint = "use --images FILE, or create images.json or images.yaml in this directory"
            raise UsageError(f"no rules file ({hint})")
        images = (found,)
    return Files(auth=tuple(auth), images=_expand_folders(images), warnings=tuple(warnings))


def _expand_folders(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The files, and the rules files directly in the folders; each file once."""
    each = (_files_of(path) if is_folder(path) else (path,) for path in _matches(paths))
    return tuple(dict.fromkeys(chain.from_iterable(each)))


def _matches(paths: Iterable[Path]) -> Iterator[Path]:
    """The paths, and the matches of globs that are not the name of a file, by name."""
    for path in paths:
        if not glob.has_magic(str(path)) or os.path.lexists(path):
            yield path
            continue
        found = sorted(glob.glob(str(path)))  # noqa: PTH207 - Path.glob refuses absolute patterns
        if not found:
            raise FileError(str(path), "no file has such a name")
        yield from map(Path, found)


def is_folder(path: Path) -> bool:
    """Whether the path is a folder."""
    return os.path.isdir(path)  # noqa: PTH112 - False where Path.is_dir raises: reading says why


def is_rules_file(path: Path) -> bool:
    """Whether a file directly in a folder of --images is read, by its name.

    Names that begin with a dot are not read: a ConfigMap has `..data`, and editors keep copies there.
    """
    return path.suffix.lower() in _IN_FOLDERS and not path.name.startswith(".")


def _files_of(folder: Path) -> list[Path]:
    """The rules files directly in a folder, by name."""
    try:
        found = sorted(path for path in folder.iterdir() if is_rules_file(path) and not is_folder(path))
    except OSError as error:
        raise FileError(str(folder), f"the folder cannot be read: {error.strerror}") from None
    if not found:
        raise FileError(str(folder), f"the folder holds no file that ends in {', '.join(_IN_FOLDERS)}")
    return found


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
