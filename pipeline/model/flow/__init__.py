"""The ledger: outcomes in, tasks out; no process, socket or disk."""
