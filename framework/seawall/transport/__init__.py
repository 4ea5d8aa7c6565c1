"""The drivers: they perform what plans decide, on gRPC's channels."""
