"""The door outwards: asking components that somebody else implements, by their HTTP or gRPC contract."""
