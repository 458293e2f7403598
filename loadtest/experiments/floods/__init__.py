"""Floods of `retort chaos`, one per module."""
