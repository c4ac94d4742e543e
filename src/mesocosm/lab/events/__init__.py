"""The events of a run and their observers: terminal output and metric trackers."""
