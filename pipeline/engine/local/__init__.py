"""Workers on this machine: processes, and their pipes and signals."""
