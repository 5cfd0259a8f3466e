"""Vectors in, decision out: cohort, calibration, thresholds, decision, and how well it all does."""
