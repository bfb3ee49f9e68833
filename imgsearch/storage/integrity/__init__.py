"""Looking for damage in an instance, and repairing it."""
