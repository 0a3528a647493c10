"""Questions asked of runs, and their answers."""
