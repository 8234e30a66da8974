"""Engines: where units run, and who starts, watches and ends them."""
