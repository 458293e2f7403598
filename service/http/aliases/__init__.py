"""Aliases: the shapes of other rerankers, so that a client switches by changing its URL."""
