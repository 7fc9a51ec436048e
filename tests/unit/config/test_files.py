from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.files import choose_files
from pipeline.errors import FileError, UsageError

A, I, C = Path("a.yaml"), Path("i.yaml"), Path("c.yaml")  # noqa: E741 - as in the table below


@pytest.mark.parametrize(
    ("named", "there", "expected", "ignored"),
    [
        ((A, I, None), "", (A, I, None), 0),
        ((None, I, None), "", (None, I, None), 0),
        ((None, I, None), "auth", ("auth", I, None), 0),
        ((A, None, None), "images", (A, "images", None), 0),
        ((None, None, None), "auth images", ("auth", "images", None), 0),
        ((None, None, None), "images", (None, "images", None), 0),
        ((None, None, None), "config", (None, None, "config"), 0),
        ((None, None, None), "config images auth", (None, None, "config"), 1),
        ((A, None, None), "config images", (A, "images", None), 0),
        ((None, I, None), "config", (None, I, None), 0),
        ((None, None, C), "config images", (None, None, C), 0),
        ((A, I, C), "", (None, None, C), 2),
    ],
)
def test_order_in_which_files_are_chosen(
    tmp_path: Path,
    named: tuple[Path | None, Path | None, Path | None],
    there: str,
    expected: tuple[Path | str | None, ...],
    ignored: int,
) -> None:
    """Named files come first, then the single file with a warning, then files in the directory."""
    for name in there.split():
        (tmp_path / f"{name}.json").touch()
    auth, images, config = named

    files = choose_files(
        auth=[auth] if auth else [], images=[images] if images else [], config=config, directory=tmp_path
    )

    wanted = tuple(tmp_path / f"{one}.json" if isinstance(one, str) else one for one in expected)
    assert wanted == (*(files.auth or (None,)), *(files.images or (None,)), files.config)
    assert ["config.file_ignored"] * ignored == [warning.name for warning in files.warnings]


def test_missing_rules_file_is_refused(tmp_path: Path) -> None:
    """A run without a rules file is refused."""
    for auth in ((), (A,)):
        with pytest.raises(UsageError, match="no rules file"):
            choose_files(auth=auth, images=[], config=None, directory=tmp_path)


@pytest.mark.parametrize(
    ("there", "chosen", "ignored"),
    [
        ("images.yaml auth.yml", ("auth.yml", "images.yaml"), []),
        ("images.yml auth.json", ("auth.json", "images.yml"), []),
        ("images.json images.yaml images.yml", (None, "images.json"), ["images.yaml", "images.yml"]),
        ("images.yaml auth.json auth.yml", ("auth.json", "images.yaml"), ["auth.yml"]),
    ],
)
def test_yaml_is_found_like_json(
    tmp_path: Path, there: str, chosen: tuple[str | None, str], ignored: list[str]
) -> None:
    """Files with all three endings are found; .json wins, with a warning that names the others."""
    for name in there.split():
        (tmp_path / name).touch()

    files = choose_files(auth=(), images=[], config=None, directory=tmp_path)

    assert chosen == (files.auth[0].name if files.auth else None, *(path.name for path in files.images))
    assert [str(tmp_path / name) for name in ignored] == [each.fields["file.path"] for each in files.warnings]


@pytest.mark.parametrize("stem", ["images", "auth"])
def test_yaml_beside_yml_is_refused(tmp_path: Path, stem: str) -> None:
    """Two YAML files of the same name are ambiguous and refused."""
    for name in ("images.yaml", f"{stem}.yaml", f"{stem}.yml"):
        (tmp_path / name).touch()

    with pytest.raises(UsageError, match=f"name one of them: --{stem}"):
        choose_files(auth=(), images=[], config=None, directory=tmp_path)


def test_command_line_rule_needs_no_rules_file(tmp_path: Path) -> None:
    """If the rule comes from the command line, only credentials are looked for."""
    (tmp_path / "auth.json").touch()

    files = choose_files(auth=(), images=[], config=None, rules_needed=False, directory=tmp_path)

    assert ((tmp_path / "auth.json",), (), None) == (files.auth, files.images, files.config)


def test_folder_stands_for_its_rules_files(tmp_path: Path) -> None:
    """A folder stands for its rules files in order of name, including the links of a ConfigMap."""
    data = tmp_path / "..2026"
    data.mkdir()
    for name in ("b.yaml", "a.txt", "c.JSON", "d.yml", ".hidden.yaml", "README.md", "run.sh"):
        (data / name).touch()
        (tmp_path / name).symlink_to(f"..data/{name}")
    (tmp_path / "..data").symlink_to(data)
    (tmp_path / "deeper.yaml").mkdir()

    files = choose_files(auth=(), images=[I, tmp_path, I], config=None, directory=tmp_path)

    assert (I, *(tmp_path / name for name in ("a.txt", "b.yaml", "c.JSON", "d.yml"))) == files.images


def test_folder_without_rules_is_refused(tmp_path: Path) -> None:
    """A folder without a rules file is an error."""
    (tmp_path / "notes.md").touch()

    with pytest.raises(FileError, match=r"holds no file that ends in .json, .yaml, .yml, .txt"):
        choose_files(auth=(), images=[tmp_path], config=None)
