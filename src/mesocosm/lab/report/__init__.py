"""The report: one page a run, and the site over several."""
