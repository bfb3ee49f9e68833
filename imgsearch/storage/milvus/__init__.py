"""Milvus as the index of an instance whose items are in PostgreSQL."""
