"""Expand, resolve, transfer: functions from one task and a context to an outcome."""
