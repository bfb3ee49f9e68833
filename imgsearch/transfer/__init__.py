"""Export and import: all items of an instance in files that any program can read."""
