"""Fit: one's own pairs and teachers to a bundle and an honest report, by one command."""
