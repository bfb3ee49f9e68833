"""The items of an instance in PostgreSQL, which many machines may write at once; pgvector is its index."""
