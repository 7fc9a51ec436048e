"""The command line: flags, values, help, and the exit code."""
