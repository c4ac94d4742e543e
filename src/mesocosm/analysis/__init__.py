"""Interpretability and exact analysis: reference predictors, products of weights, probes, spectra, tangent kernels, dynamic programming."""
