"""Load tests and benchmarks: how fast the server is, compared with what."""
