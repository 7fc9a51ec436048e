"""With CI=true a skip is a failure, so that a green run there means that every test was really run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator


def fail_if_skipped(report: pytest.CollectReport | pytest.TestReport) -> None:
    """Turn the skip of a test or of a module into a failure in CI; its reason stays."""
    expected = hasattr(report, "wasxfail")  # pytest reports an expected failure as a skip
    if os.environ.get("CI") == "true" and report.skipped and not expected:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}\nIn CI no test may be skipped."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Check the report of each test, its setup and its teardown."""
    report = yield
    fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Check the report of each module."""
    report = yield
    fail_if_skipped(report)
    return report
