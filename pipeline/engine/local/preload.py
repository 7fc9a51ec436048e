"""What the fork server imports, and no other process: what workers need, and how the server itself ends.

It ends with the supervisor, and whoever reads the run's output through a pipe waits for it: taking its
interpreter apart would keep them for 25 ms more.
"""

import atexit
import os

import pipeline.engine.local.worker
import pipeline.stages.run  # noqa: F401 - for the workers that are forked from here

atexit.register(os._exit, 0)
