"""Plans and executes studies; also dry runs and repetitions of earlier runs."""
