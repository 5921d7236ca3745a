"""Reports of a store or of the chain: rows, files, mail, and their schedule."""
