"""A small app in several modules, some of which reach across their walls."""
