"""What happens in a run, and who is told: the terminal and the trackers."""
