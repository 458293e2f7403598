"""Load tests and benchmarks: how fast the server is, and beside what."""
