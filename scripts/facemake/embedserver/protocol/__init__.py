"""The words of gRPC: `embed.proto`, and what `make protocol` writes of it."""
