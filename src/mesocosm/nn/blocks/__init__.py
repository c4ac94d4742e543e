"""Mixers put together: residual stacks and projections round a mixer."""
