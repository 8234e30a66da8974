"""Ledgers: who owns what has taken effect."""
