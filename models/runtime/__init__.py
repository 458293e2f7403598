"""Engines: small runtimes that turn token ids into logits, behind one protocol."""
