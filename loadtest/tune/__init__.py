"""Tuning: finds the settings that serve most requests on this machine within a latency target."""
