"""Who may do what: bearer tokens, MQTT passwords, and the files that keep the cloud's own secrets."""
