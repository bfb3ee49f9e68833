"""The items of an instance in SQLite: the truth from which everything else is derived."""
