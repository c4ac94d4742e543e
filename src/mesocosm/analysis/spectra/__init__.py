"""Spectra of products of weights, and the effect of weight decay on them."""
