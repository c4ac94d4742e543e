"""Exact computations for finite environments: dynamic programming, enumeration, expected estimators."""
