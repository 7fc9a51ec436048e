from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.files import choose_files
from pipeline.errors import UsageError

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
def test_chooses(
    tmp_path: Path,
    named: tuple[Path | None, Path | None, Path | None],
    there: str,
    expected: tuple[Path | str | None, ...],
    ignored: int,
) -> None:
    """What is named comes first, the single file wins with a warning, then what lies in the directory."""
    for name in there.split():
        (tmp_path / f"{name}.json").touch()
    auth, images, config = named

    files = choose_files(auth=auth, images=images, config=config, directory=tmp_path)

    wanted = tuple(tmp_path / f"{one}.json" if isinstance(one, str) else one for one in expected)
    assert wanted == (files.auth, files.images, files.config)
    assert ["config.file_ignored"] * ignored == [warning.name for warning in files.warnings]


def test_a_rules_file_is_needed(tmp_path: Path) -> None:
    """Without any rules file the run is refused, and a file of another ending is pointed out."""
    for auth in (None, A):
        with pytest.raises(UsageError, match="no rules file"):
            choose_files(auth=auth, images=None, config=None, directory=tmp_path)
    (tmp_path / "images.yaml").touch()
    with pytest.raises(UsageError, match=r"name it: --images images\.yaml"):
        choose_files(auth=None, images=None, config=None, directory=tmp_path)


def test_a_rule_of_words_needs_no_rules_file(tmp_path: Path) -> None:
    """Where the rule comes from the command line only credentials are looked for."""
    (tmp_path / "auth.json").touch()

    files = choose_files(auth=None, images=None, config=None, rules_needed=False, directory=tmp_path)

    assert (tmp_path / "auth.json", None, None) == (files.auth, files.images, files.config)
