"""Tangent kernels: from derivatives to kernels, regression with them, and the variance of ensembles."""
