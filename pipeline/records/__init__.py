"""The records on disk: the store, its rows, its folder and lock, its reader, its scratch copy."""
