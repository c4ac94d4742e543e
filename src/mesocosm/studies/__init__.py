"""What the papers claim: the interface of a study and one folder a paper."""
