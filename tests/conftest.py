"""Fixtures that all tests may ask for."""

pytest_plugins = ["tests.real.fixtures", "tests.registry.fixtures"]
