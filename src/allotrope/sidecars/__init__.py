"""Sidecars: companion processes of a unit's replicas, which watch without being waited for."""
