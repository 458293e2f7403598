"""Evaluation: measures with intervals, calibration, the cascade's curve."""
