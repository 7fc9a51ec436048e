"""Imported by the fork server only: it imports what workers need, and sets how the server exits.

The server exits without the interpreter's shutdown: a reader of the run's output through a pipe would wait 25
ms longer.
"""

import atexit
import os

try:
    import pipeline.engine.local.worker
    import pipeline.stages.run  # noqa: F401 - for the workers that are forked from here
except (MemoryError, SystemError):
    # The supervisor reports it. SystemError: the importer had no memory for its own error.
    os._exit(1)

atexit.register(os._exit, 0)
