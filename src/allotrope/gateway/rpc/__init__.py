"""The same offers over gRPC, with descriptors made while it runs: no code is generated."""
