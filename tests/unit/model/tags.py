"""Lists of tags as public repositories have them."""

from __future__ import annotations

from pathlib import Path

import yaml

_FILE = Path(__file__).resolve().parents[2] / "data" / "tags.yaml"

LISTS: dict[str, list[str]] = yaml.safe_load(_FILE.read_text())
"""By repository."""
EVERY = [tag for tags in LISTS.values() for tag in tags]
