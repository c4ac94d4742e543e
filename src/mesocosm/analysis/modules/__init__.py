"""Whether a network has found the modules of which its tasks are composed."""
