"""Attention and related layers, which mix tokens by sums over the past."""
