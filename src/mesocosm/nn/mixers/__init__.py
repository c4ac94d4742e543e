"""Attention and its kin: layers that mix tokens by sums over the past."""
