"""Weights set by hand: networks that compute a known function exactly."""
