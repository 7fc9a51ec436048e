"""The supervisor, and the interface to the workers that run its tasks."""
