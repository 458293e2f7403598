"""Readers: one per file format, each from a file to pairs."""
