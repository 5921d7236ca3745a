"""Alembic migrations. A change of `cloud_backend.store.tables` comes with a new file in ``versions``.

``python -m cloud_backend.store.migrations "Nodes have a colour."`` writes a draft of one from what the
tables have and the migrations so far do not; read it before you commit it.
"""
