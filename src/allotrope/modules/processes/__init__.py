"""Processes: what takes several steps, and is taken back when it cannot be finished."""
