"""Work over an instance: indexing, its dry run, making features anew, tuning."""
