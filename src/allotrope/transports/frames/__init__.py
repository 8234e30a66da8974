"""Frames: calls between processes over unix sockets and TCP, many at once on one connection."""
