"""One hop between two processes, once per way of making it. Each runs in an environment of its own."""
