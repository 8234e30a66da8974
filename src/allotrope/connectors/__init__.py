"""Connectors: how events come from and go to what is not ours, in forms that others know. Never the log of an app."""
