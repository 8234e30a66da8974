"""Webhooks: events that are sent to whoever has subscribed to them, signed, at least once."""
