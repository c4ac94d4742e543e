"""The report: one page per run, and a site for several runs."""
