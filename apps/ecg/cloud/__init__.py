"""The cloud's side: projection, tables, queries and routes."""
