"""The show: starts a cloud and nodes as child processes and drives them by their public interfaces."""
