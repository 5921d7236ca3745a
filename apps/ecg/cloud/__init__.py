"""Cloud side of the ECG app: projection, tables, queries and routes."""
