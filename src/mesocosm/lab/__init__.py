"""Runs studies: run store, resuming, judging, reports. Depends on the interface of studies, not on any particular study."""
