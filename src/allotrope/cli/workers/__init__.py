"""Processes that others start: no verbs."""
