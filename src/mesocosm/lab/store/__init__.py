"""The run directory: files and formats, trial identities, checkpoints and parameters."""
