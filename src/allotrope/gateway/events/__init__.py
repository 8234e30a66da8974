"""Events at the door in forms that others know."""
