"""World of a show: cloud and nodes as child processes, and networks that can be cut."""
