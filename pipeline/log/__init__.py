"""What the program says of itself: events as data, their catalogue, their renderings, and where lines go.

Importing this imports no structlog: the module is imported everywhere, and --help needs none of it.
"""

from pipeline.log.event import Event, Level, Value, about, printable
from pipeline.log.sink import Log, open_log

__all__ = ["Event", "Level", "Log", "Value", "about", "open_log", "printable"]
