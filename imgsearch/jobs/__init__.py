"""Jobs over an instance: creating, reading, indexing and its dry run, reindexing, tuning."""
