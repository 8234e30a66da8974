"""Makes a plan live: host, dispatch, tracing."""
