"""Proof that answers do not change, and what each architecture costs."""
