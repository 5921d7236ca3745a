"""What edge and cloud agree on, and all the edge plumbing. Imports no other room."""
