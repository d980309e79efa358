"""From the eager model to the files of a backend, and reading these files."""
