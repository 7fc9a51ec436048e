"""The scheduler: what happens next. Outcomes in, tasks out; no process, socket or disk."""
