"""Tasks and data sets. A task generates examples as a pure function of a key."""
