"""Faces of pictures and their vectors over a network: `facemake serve --embed`.

`settings` is what a server is told; `queue` gathers pictures of all requests into batches for the
one thread that has the models; `service` stands before it: limits, decoding, answers in time;
`wire` reads requests of HTTP and writes answers, `app` is the application; `rpc` is the same over
gRPC; `metrics` counts. `app` needs the extra `serve`, `rpc` the extra `grpc`.
"""
