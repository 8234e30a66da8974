"""Examples: what a user would write, no more."""
