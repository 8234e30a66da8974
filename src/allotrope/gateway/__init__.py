"""The door of an app to the network: HTTP and gRPC over one host, whatever its topology."""
