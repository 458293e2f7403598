"""The engine: what happens to a request between the HTTP layer and a backend."""
