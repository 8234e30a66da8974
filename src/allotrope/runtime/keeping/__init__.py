"""What of the views outlives a process, and what of the log need not: states, checkpoints, retention."""
