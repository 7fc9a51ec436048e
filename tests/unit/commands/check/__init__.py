"""What `check` finds out, and how it says it."""
