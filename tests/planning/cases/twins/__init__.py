"""A second event of a name that the shop already has."""
