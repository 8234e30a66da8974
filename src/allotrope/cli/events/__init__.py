"""The verbs of what an app has in its log."""
