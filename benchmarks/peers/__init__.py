"""The mesa layer's peers, each on the same problem: the regression of values on keys at every token."""
