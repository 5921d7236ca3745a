"""Delivery: the durable outbox, the uplink to the cloud, and alarms at the machine itself."""
