"""A text file that a logger appends to, rotates, truncates or replaces, read as one sequence of lines."""
