"""Access: bearer tokens, MQTT passwords, and the files that keep the cloud's own secrets."""
