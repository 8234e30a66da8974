"""How events travel."""
