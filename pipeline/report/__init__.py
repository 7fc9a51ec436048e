"""What a run leaves to read: summary and report."""
