"""The log: events as data, their catalogue, renderings and sink.

Importing this does not import structlog: the module is imported everywhere, and --help does not need it.
"""

from pipeline.log.event import Event, Level, Value, event_of, fault_fields, printable
from pipeline.log.masking import mask
from pipeline.log.once import Once
from pipeline.log.sink import Log, open_log
from pipeline.log.wording import sentence

__all__ = [
    "Event",
    "Level",
    "Log",
    "Once",
    "Value",
    "event_of",
    "fault_fields",
    "mask",
    "open_log",
    "printable",
    "sentence",
]
