"""The presets: data only."""
