"""What the fork server imports, and no other process: what workers need, and how the server itself ends.

It ends with the supervisor, and whoever reads the run's output through a pipe waits for it: taking its
interpreter apart would keep them for 25 ms more.
"""

import atexit
import os

try:
    import pipeline.engine.local.worker
    import pipeline.stages.run  # noqa: F401 - for the workers that are forked from here
except (MemoryError, SystemError):
    # The supervisor says what is missing; SystemError: the importer itself had no memory for its error.
    os._exit(1)

atexit.register(os._exit, 0)
