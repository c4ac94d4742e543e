"""Tools to find what a sequence model computes in context: reference predictors, products of weights, coefficients, probes."""
