"""Runs a study: plans it, executes its trials in order, does dry runs, and replicates earlier runs."""
