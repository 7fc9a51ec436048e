"""Lists of tags: some with the shape of public repositories, and a real one."""

from __future__ import annotations

from pathlib import Path

import yaml

_DATA = Path(__file__).resolve().parents[2] / "data"

LISTS: dict[str, list[str]] = yaml.safe_load((_DATA / "tags.yaml").read_text())
"""By repository, whose tags look like these."""
REAL = [
    tag
    for line in (_DATA / "python-tags.txt").read_text().splitlines()
    if not line.startswith("#")
    for tag in line.split()
]
"""Every tag of docker.io/library/python of one day."""
EVERY = [tag for tags in LISTS.values() for tag in tags]
