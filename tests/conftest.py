"""Fixtures for all tests; no example of a property has a time limit, on any machine.

`HYPOTHESIS_PROFILE=long pytest --timeout 3600 tests/unit` draws fifty times as many examples.
"""

import os
import signal

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.no_skips", "tests.real.fixtures", "tests.registry.fixtures"]

settings.register_profile("untimed", deadline=None)
settings.register_profile(
    "long", deadline=None, max_examples=5_000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "untimed"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without job control ignores SIGINT in background processes, and their children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
