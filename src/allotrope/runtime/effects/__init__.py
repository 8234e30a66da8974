"""Effects: what one delivery does, as one transaction; how it ended; and the way of its events to the log."""
