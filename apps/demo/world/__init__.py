"""The world of the show: cloud and nodes as child processes, networks that can be cut, and their client."""
