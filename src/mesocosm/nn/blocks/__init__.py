"""Blocks built from mixers: residual stacks and projections."""
