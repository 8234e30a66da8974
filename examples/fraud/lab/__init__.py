"""Around the app, not in it: data, training, and the demonstration that `make run` shows."""
