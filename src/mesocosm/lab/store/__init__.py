"""The run directory: its files and their formats, who a trial is, checkpoints and parameters."""
