"""Backups: copies of all that an app keeps, and whether that is whole."""
