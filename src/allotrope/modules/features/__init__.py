"""Features: what a stream adds up to."""
