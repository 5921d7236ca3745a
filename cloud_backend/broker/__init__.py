"""The MQTT broker of one machine, as a child of the cloud. ``broker.open_broker`` is the door."""
