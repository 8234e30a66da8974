"""Verbs that copy what an app keeps, and bring it back."""
