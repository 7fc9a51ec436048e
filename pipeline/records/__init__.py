"""The records on disk: store, rows, folder and lock, read-only reader, scratch copy."""
