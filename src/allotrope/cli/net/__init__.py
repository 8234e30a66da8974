"""The verbs of the gateway: one file each."""
