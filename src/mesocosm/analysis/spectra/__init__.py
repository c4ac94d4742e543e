"""Spectra of products of weights, and what weight decay does to them."""
