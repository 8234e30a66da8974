"""Doors: the one path of every call, with its limits and deadlines."""
