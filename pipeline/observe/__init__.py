"""A run while it runs: history, rates, run state, live display, progress lines, metrics."""
