"""What the cloud keeps: SQLModel tables, the engine, the migrations. SQLite and PostgreSQL alike."""
