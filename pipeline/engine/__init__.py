"""The supervisor, signals, and the interface to workers."""
