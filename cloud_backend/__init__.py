"""The cloud: ingest, store, registry, updates, training, access, API."""
