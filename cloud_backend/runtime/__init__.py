"""The cloud's process: server, connections, periodic tasks, addresses, backup."""
