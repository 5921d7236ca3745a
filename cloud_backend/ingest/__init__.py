"""Ingest: batches in over MQTT, one transaction, acks out. ``consumer`` is the door."""
