"""Fixtures that all tests may ask for; no example of a property is held to a time, on whatever machine."""

from hypothesis import settings

pytest_plugins = ["tests.real.fixtures", "tests.registry.fixtures"]

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
