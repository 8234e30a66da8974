"""What a running host shows of itself: spans, logs and metrics."""
