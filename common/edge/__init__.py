"""The node: sources, inference, the app, the outbox, the uplink, model slots and what they need."""
