"""Serving: a bundle behind HTTP, fast, bounded and honest about its health."""
