"""The cloud's store: SQLModel tables, the engine, the migrations. SQLite and PostgreSQL alike."""
