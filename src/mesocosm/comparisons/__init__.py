"""Comparisons of parts on many problems: run, resumed and reported as studies are, but of no paper, and without claims."""
