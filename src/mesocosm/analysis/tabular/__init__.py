"""Exact answers for finite environments: dynamic programming, enumeration, expected estimators."""
