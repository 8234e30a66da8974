"""Verbs about the versions of an app."""
