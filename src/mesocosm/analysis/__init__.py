"""How we look inside: reference predictors, products of factors, probes, replicates and intervals."""
