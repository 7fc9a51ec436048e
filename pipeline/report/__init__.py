"""What is left to read when a run is over: files, summary, report."""
