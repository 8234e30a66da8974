"""What a host has left in its folder: found by name, drawn out in full, computed again."""
