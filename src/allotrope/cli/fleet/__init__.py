"""Verbs that look at the units of a running app, and have them changed."""
