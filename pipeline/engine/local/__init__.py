"""Workers on this machine: processes, and the pipes and signals between them and the supervisor."""
