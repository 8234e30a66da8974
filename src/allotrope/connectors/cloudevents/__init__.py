"""CloudEvents 1.0.2: events as every protocol carries them, both ways. Pure: bytes in, bytes out."""
